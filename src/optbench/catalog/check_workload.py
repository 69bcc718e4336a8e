"""Check a workload: its model, data, metrics and targets, and their compatibility."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optbench.catalog import lookup, sources
from optbench.catalog.arguments import Finding, TypedPath
from optbench.catalog.check_component import component_findings, message_of
from optbench.catalog.data_sets import describe_data, is_stream, task_of
from optbench.catalog.metric_contract import facts_of, metric_problems, stated_facts
from optbench.catalog.model_builds import ModelBuilds
from optbench.catalog.model_facts import NAMES, TABLE_SIZES, model_facts
from optbench.catalog.own_task import load_own_task, own_task_facts
from optbench.catalog.sharding import IMPLEMENTATIONS, why_not_sharded
from optbench.catalog.signatures import signature
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError
from optbench.suite.metric_facts import MetricFacts
from optbench.suite.types import Augment, Component, Suite, Target, Workload


def data_findings(
    data: Component, folder: Path, root: Path, path: TypedPath
) -> tuple[list[Finding], DataInfo | None]:
    """Return unknown names and arguments, or errors of the data set itself; and its description, None if there are errors."""
    found = list(component_findings("data", data, folder, path))
    if found:
        return found, None
    try:
        return [], describe_data(data, root, folder)
    except OptbenchError as error:
        for problem in error.problems:
            argument, _, message = problem.message.partition(": ")
            if argument in data.arguments:
                found.append(((*path, "arguments", argument), message))
            else:
                file = data.arguments.get("path")
                is_of_file = isinstance(file, str) and (
                    problem.file or Path(argument).name == Path(file).name
                )
                place = ("arguments", "path") if is_of_file else ("name",)
                found.append(((*path, *place), message_of(problem)))
    except Exception as error:  # user code of a data set may raise any exception
        found.append(((*path, "name"), f"describing '{data.name}' failed: {type(error).__name__}: {error}"))
    return found, None


def model_findings(
    model: Component,
    folder: Path,
    path: TypedPath,
    info: DataInfo | None,
    builds: ModelBuilds,
    *,
    build: bool = False,
) -> list[Finding]:
    """Return unknown names and arguments. Builds the model without memory with `build`, or if its source is not enough."""
    found = list(component_findings("models", model, folder, path))
    if found or info is None:
        return found
    if model.name.startswith("torchvision.models.") and len(info.shape) != 3:
        return [((*path, "name"), f"'{model.name}' requires images; found data of shape {info.shape}")]
    target = lookup.resolve("models", model.name, folder)
    read = signature(target)
    unseen = read.accepts_any and not set(model.arguments) <= set(read.names)
    required = [p.name for p in read.parameters if p.required and p.name not in model.arguments]
    missing = [name for name in required if name in NAMES and name not in model_facts(info)]
    if missing:
        message = f"'{model.name}' requires {', '.join(missing)}, which the data set (task {info.task}) does not have"
        return [((*path, "name"), message)]
    found = list(_size_findings(model, info, path))
    if found:
        return found
    of_vectors = len(info.shape) == 1 and not _takes_any_shape(target)
    unsure = unseen or of_vectors or info.task != "classification"
    if (build or unsure) and (message := builds.error(model, folder, info)):
        found.append(((*path, "name"), message))
    return found


def _size_findings(model: Component, info: DataInfo, path: TypedPath) -> Iterator[Finding]:
    """Yield sizes of tables and of positions that a suite writes and that the data exceed."""
    known = model_facts(info)
    for name in TABLE_SIZES:
        written = model.arguments.get(name)
        if isinstance(written, int) and name in known and written < known[name]:
            message = f"expected at least {known[name]}, as in the data; found {written}"
            yield (*path, "arguments", name), message


def _takes_any_shape(model: lookup.Target) -> bool:
    """Return whether the file of a model states `ANY_SHAPE = True`: it is built for images and for vectors."""
    return model.file is not None and sources.constants(model.file).get("ANY_SHAPE") is True


def metric_findings(
    workload: Workload, folder: Path, path: TypedPath, info: DataInfo | None
) -> Iterator[Finding]:
    """Yield unknown metrics, own metrics that fail, and targets that cannot be reached or have the wrong direction."""
    if workload.task is not None:
        yield from _own_task_findings(workload, workload.task, folder, path)
        return
    of_targets = {target.metric for target in workload.target}
    for position, metric in enumerate(workload.metrics):
        own = metric in workload.own_metrics
        if own and metric in lookup.items("metrics"):
            message = f"'{metric}' is a metric of the catalog: choose another name"
            yield (*path, "own_metrics", metric), message
        elif own or metric not in of_targets:
            place = ("own_metrics", metric) if own else ("metrics", position)
            for message in _metric_messages(workload, metric, folder, info):
                yield (*path, *place), message
    for position, target in enumerate(workload.target):
        yield from _target_findings(workload, target, folder, (*path, "target", position), info)


def _own_task_findings(workload: Workload, use: str, folder: Path, path: TypedPath) -> Iterator[Finding]:
    """Yield an own task that cannot be used, metrics that it lacks, and wrong targets. Imports its file."""
    try:
        task = load_own_task(use, folder)
    except OptbenchError as error:
        yield (*path, "task"), message_of(error.problems[0])
        return
    if "metrics" not in workload.model_fields_set:  # the default is that of classification
        names = ", ".join(getattr(task, "metrics", {})) or "loss"
        message = f"the metrics of {use} are not a literal dictionary in the class: expected them in the suite, as in metrics: [{names}]"
        yield (*path, "task"), message
        return
    of_targets = {target.metric: position for position, target in enumerate(workload.target)}
    for position, metric in enumerate(workload.metrics):
        target = of_targets.get(metric)
        place = ("metrics", position) if target is None else ("target", target, "metric")
        try:
            facts = own_task_facts(task, use, metric)
        except OptbenchError as error:
            yield (*path, *place), message_of(error.problems[0])
            continue
        if target is not None:
            yield from _bound_findings(workload.target[target], facts, (*path, "target", target))


def _metric_messages(workload: Workload, metric: str, folder: Path, info: DataInfo | None) -> Iterator[str]:
    try:
        for problem in metric_problems(workload.metric_code(metric), folder, info):
            yield message_of(problem)
        target = lookup.resolve("metrics", workload.metric_code(metric), folder)
        needed = sources.constants(target.file).get("FACTS", ()) if target.file is not None else ()
        for fact in needed:
            if info is not None and fact not in info.facts:
                yield f"{metric} needs '{fact}', which the data set {workload.data.name} does not state"
    except OptbenchError as error:
        yield message_of(error.problems[0])


def task_findings(
    workload: Workload, folder: Path, path: TypedPath, info: DataInfo | None
) -> Iterator[Finding]:
    """Yield settings that need another task than that of the data set."""
    if workload.task is not None:
        return  # see `metric_findings`
    if info is None:
        return
    try:
        stated = task_of(workload.data, folder)
    except OptbenchError:
        return  # reported for the data set
    if stated != info.task:
        message = f"the data set has the task {info.task}: add TASK = {info.task!r} to its file, so that loss and metrics follow it"
        yield (*path, "data", "name"), message
    if workload.augment != Augment() and is_stream(workload.data, folder):
        message = "requires images in memory; put the transforms into the data set, whose samples are read during training (STREAM = True)"
        yield (*path, "augment"), message
    if info.task != "classification" and workload.relabel is not None:
        yield (*path, "relabel"), f"permutes classes; the task of {workload.data.name} is {info.task}"


def size_findings(workload: Workload, path: TypedPath, info: DataInfo | None) -> Iterator[Finding]:
    """Yield batches larger than the data, more micro-batches than samples, and image augmentation of vectors."""
    full = info.train if info is not None else None
    size = full if workload.batch_size == "full" else workload.batch_size
    if size is not None and workload.accumulate > size:
        message = f"expected at most the batch size, {size}; found {workload.accumulate}"
        yield (*path, "accumulate"), message
    if info is None:
        return
    if size is not None and size > info.train:
        message = f"a batch of {size} is larger than the training split ({info.train} samples)"
        yield (*path, "batch_size"), message
    for split, samples in (("training", info.train), ("validation", info.validation), ("test", info.test)):
        if samples < 1:
            message = f"expected samples in each of training, validation and test; found none for {split}"
            yield (*path, "data"), message
    for setting in sorted(workload.augment.model_fields_set) if len(info.shape) != 3 else ():
        if getattr(workload.augment, setting):
            yield (*path, "augment", setting), f"requires images; found data of shape {info.shape}"
    if workload.memory_format == "channels_last" and len(info.shape) != 3:
        yield (*path, "memory_format"), f"channels_last requires images; found data of shape {info.shape}"


def device_findings(
    suite: Suite, workload: Workload, folder: Path, path: TypedPath, info: DataInfo | None
) -> Iterator[Finding]:
    """Yield settings that require several devices per trial, and settings that several devices do not support."""
    gpus = suite.resources.gpu
    if gpus and gpus != workload.devices:
        message = f"expected as many GPUs as `devices` of the workload, {workload.devices}; found {gpus}"
        yield ("resources", "gpu"), message
    if workload.world_size == 1:
        if workload.sync_batch_norm:
            yield (
                (*path, "sync_batch_norm"),
                "requires several devices (`devices`, `nodes`): one device computes whole batches",
            )
        if workload.sharding != "none":
            yield (
                (*path, "sharding"),
                "requires several devices (`devices`, `nodes`): there is nothing to divide",
            )
        return
    if workload.sharding != "none":
        yield from _sharding_findings(suite, workload, folder, path)
    here = (*path, "devices")
    if suite.cuda_graph == "on":
        yield here, "training on several devices is not captured: expected `cuda_graph: auto` or off"
    if "noise" in workload.study:
        yield (*path, "study"), "`noise` is measured on one device: expected one device per trial"
    for label, entry in suite.optimizers.items():
        written = entry.batch_size or workload.batch_size
        size = written if written != "full" else info.train if info is not None else None
        if size is not None and size < workload.world_size * workload.accumulate:
            found = f"'{label}' has a batch of {size}"
            share = f"{workload.world_size} devices x {workload.accumulate} micro-batches"
            yield here, f"expected at least one sample for each of {share}; {found}"
        if entry.create_graph or entry.closure == "loss_only":
            setting = "create_graph" if entry.create_graph else "closure"
            message = "its gradients are not averaged over several processes: expected one device per trial"
            yield ("optimizers", label, setting), message


def _sharding_findings(suite: Suite, workload: Workload, folder: Path, path: TypedPath) -> Iterator[Finding]:
    here = (*path, "sharding")
    if suite.precision == "fp16":
        yield here, "fp16 scales whole gradients: expected precision bf16 or fp32"
    if suite.implementation not in IMPLEMENTATIONS:
        expected = ", ".join(IMPLEMENTATIONS)
        message = f"`implementation: {suite.implementation}` does not run on a part of the parameters; expected one of {expected}"
        yield here, message
    if "parameters" in workload.study:
        yield (*path, "study"), "`parameters` needs whole parameters: expected `sharding: none`"
    if workload.compile and workload.sharding == "full":
        message = (
            "`full` gathers parameters during the passes, which are not compiled: expected `compile: false`"
        )
        yield here, message
    for label, entry in suite.optimizers.items():
        for position, rule in enumerate(entry.rules):
            of_rule: TypedPath = ("optimizers", label, "rules", position)
            if reason := why_not_sharded(rule.use, str(folder)):
                yield (*of_rule, "use"), reason
            elif rule.arguments.get("fused"):
                message = "a fused step does not run on a part of the parameters: expected false"
                yield (*of_rule, "arguments", "fused"), message
        if entry.closure:
            message = "a closure needs whole parameters: expected `sharding: none`"
            yield ("optimizers", label, "closure"), message


def _target_findings(
    workload: Workload, target: Target, folder: Path, path: TypedPath, info: DataInfo | None
) -> Iterator[Finding]:
    if target.metric not in workload.own_metrics:
        messages = list(_metric_messages(workload, target.metric, folder, info))
        if messages:
            yield (*path, "metric"), messages[0]
            return
    use = workload.metric_code(target.metric)
    try:
        stated = stated_facts(lookup.resolve("metrics", use, folder))
        facts = facts_of(use, stated) if "HIGHER_IS_BETTER" in stated else None
    except OptbenchError:
        return  # reported for `own_metrics`
    if facts is not None:
        yield from _bound_findings(target, facts, path)


def _bound_findings(target: Target, facts: MetricFacts, path: TypedPath) -> Iterator[Finding]:
    """Yield a target outside of the range of its metric, or in the wrong direction."""
    low, high = facts.range
    bound = "at_least" if target.at_least is not None else "at_most"
    if not low <= target.value <= high:
        yield (*path, bound), _out_of_range(target, facts.low, facts.high)
    elif facts.higher_is_better is (bound == "at_most"):
        better, other = ("higher", "at_least") if bound == "at_most" else ("lower", "at_most")
        yield (*path, bound), f"expected '{other}': {better} values of {target.metric} are better"


def _out_of_range(target: Target, low: float | None, high: float | None) -> str:
    limits = f"between {low:g} and {high:g}" if low is not None and high is not None else "in its range"
    if low is None or high is None:
        limits = f"of at least {low:g}" if low is not None else f"of at most {high:g}"
    what = f"expected {target.metric} {limits}; found {target.value:g}"
    if high == 1 and 1 < target.value <= 100:
        return f"{what}; {target.metric} is a fraction: did you mean {target.value / 100:g}?"
    return what
