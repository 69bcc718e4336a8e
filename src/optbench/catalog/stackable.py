"""Rule for sweeps and tuning trials that the stacked engine may train; static, so that a plan is the same on every machine.

It is used for models whose file has the literal `STACKABLE = True`: too small to keep a device busy, without buffers (batch norm)
and without randomness in the forward pass (dropout).
"""

from __future__ import annotations

import ast

from optbench.catalog import lookup, sources
from optbench.catalog.closures import requires_closure
from optbench.catalog.data_sets import is_stream, task_of
from optbench.catalog.sources import Definition
from optbench.errors import OptbenchError
from optbench.suite.load import Loaded
from optbench.suite.nested_optimizers import nested
from optbench.suite.plan import merged, with_numeric_rates
from optbench.suite.sweep import point_of_entry
from optbench.suite.types import Optimizer, Workload

#: settings of a workload that stacks support; with any other, the plain engine is used
_SUPPORTED = {
    "model",
    "data",
    "batch_size",
    "budget",
    "target",
    "init",
    "loss",
    "metrics",
    "own_metrics",
    "evaluate",
    "augment",
    "loss_bound",
}
_LOSSES = ("cross_entropy", "mse")
_TASKS = ("classification", "regression")
_OWN_LOOP = ("LBFGS", "SparseAdam")  # of torch.optim: a closure, sparse gradients


def why_plain(loaded: Loaded, workload_name: str) -> dict[str, str]:
    """Return the entries that cannot be stacked on this workload, with the reasons as clauses.

    These are all entries, with the reason of the workload, if it cannot be stacked.
    """
    suite, folder = loaded.suite, str(loaded.folder)
    if reason := why_workload_plain(loaded, workload_name):
        return dict.fromkeys(suite.optimizers, reason)
    batch_size = suite.workloads[workload_name].batch_size
    reasons = {}
    for label, written in suite.optimizers.items():
        entry = merged(suite, written)
        entry = with_numeric_rates(entry, entry.batch_size or batch_size)
        if reason := _of_entry(entry, folder) or _without_centre(loaded, entry):
            reasons[label] = reason
    return reasons


def why_workload_plain(loaded: Loaded, workload_name: str) -> str:
    """Return why no trial of this workload can be stacked, whatever the entry; "" if some may be."""
    suite, folder = loaded.suite, str(loaded.folder)
    workload = suite.workloads[workload_name]
    if suite.engine == "plain":
        return "the suite has `engine: plain`"
    if suite.precision == "fp16":
        return "fp16 scales the gradients of each trial separately"
    if suite.implementation in ("compiled", "auto"):
        return f"the suite has `implementation: {suite.implementation}`, and a stack compiles no steps"
    if suite.cuda_graph == "on":
        return "the suite has `cuda_graph: on`, and a stack is not captured"
    return _of_workload(workload, folder)


def _of_workload(workload: Workload, folder: str) -> str:
    try:
        target = lookup.resolve("models", workload.model.name, folder)
    except OptbenchError:
        return f"the model '{workload.model.name}' is not known"
    if target.file is None or sources.constants(target.file).get("STACKABLE") is not True:
        return f"the model {workload.model.name} is not marked STACKABLE"
    if workload.task is not None or (task := task_of(workload.data, folder)) not in _TASKS:
        return f"the task is {workload.task or task}"
    if is_stream(workload.data, folder):
        return "the data are read during training"
    for name in workload.metrics:
        metric = lookup.resolve("metrics", workload.metric_code(name), folder)
        if metric.file is not None and sources.define(metric.module, metric.file, "Accumulator") is not None:
            return f"the metric {name} is not a mean over samples"
    other = sorted(set(workload.model_dump(exclude_defaults=True)) - _SUPPORTED)
    if other:
        return f"the workload sets `{other[0]}`"
    if workload.budget.unit == "seconds":
        return "the budget is in seconds"
    return "" if workload.loss.name in _LOSSES else f"the loss is {workload.loss.name}"


def _of_entry(entry: Optimizer, folder: str) -> str:
    for name in ("clip", "ema"):
        if getattr(entry, name) is not None:
            return f"has `{name}`"
    if entry.closure:
        return "needs a closure"
    if entry.create_graph:
        return "needs the graph of the gradients"
    for rule in entry.rules:
        if any(nested(value) for value in rule.arguments.values()):
            return f"uses {rule.use} with another optimizer"
        if not _steps_alone(rule.use, folder):
            return f"uses {rule.use}, whose step may need more than gradients"
    return ""


def _without_centre(loaded: Loaded, entry: Optimizer) -> str:
    """Return why the entry itself cannot be part of the stack: it must set the values that are swept."""
    own = point_of_entry(loaded.suite.sensitivity, entry)
    for name in loaded.suite.sensitivity:
        values = [value for key, value in own.items() if key.split(".")[-1] == name or key == name]
        if not values or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            return f"does not write '{name}', so that its own point is not known before it runs"
    return ""


def _steps_alone(use: str, folder: str) -> bool:
    """Return whether a step needs gradients only: torch's classes, and direct subclasses of `Optimizer` without modes."""
    try:
        target = lookup.resolve("optimizers", use, folder)
    except OptbenchError:
        return False
    if target.module.split(".")[:2] == ["torch", "optim"]:
        return target.attribute not in _OWN_LOOP
    if target.file is None or not target.attribute or "." in target.attribute:
        return False
    found = sources.define(target.module, target.file, target.attribute)
    return found is not None and _is_simple(found) and not requires_closure(target)


def _is_simple(found: Definition) -> bool:
    node = found.node
    if not isinstance(node, ast.ClassDef):
        return False
    methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
    settings = {ast.unparse(part.targets[0]) for part in node.body if isinstance(part, ast.Assign)}
    if bases != ["Optimizer"] or "step" not in methods or {"train", "eval"} & set(methods):
        return False
    return "is_second_order" not in settings
