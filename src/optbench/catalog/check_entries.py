"""Check an optimizer entry: its classes, their arguments, its rules, and its compatibility with the workloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.arguments import Finding, TypedPath
from optbench.catalog.check_optimizer import group_findings, optimizer_findings
from optbench.catalog.check_schedule import Conditions, run_findings, schedule_findings
from optbench.catalog.closures import LOSS_ONLY_CLIP, requires_closure
from optbench.catalog.signatures import signature
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError
from optbench.plurals import counted
from optbench.suite.nested_optimizers import names_in
from optbench.suite.plan import merged
from optbench.suite.scaling import is_scaled, rate_problem
from optbench.suite.types import Optimizer, Rule, Suite, Workload

_KINDS = ("all", "rest", "matrices", "embeddings", "convolutions", "vectors")


def entry_findings(
    suite: Suite, label: str, folder: Path, infos: Mapping[str, DataInfo | None]
) -> Iterator[Finding]:
    """Yield the problems of an entry. `infos` are the descriptions of each workload's data, None if unknown."""
    entry = suite.optimizers[label]
    path: TypedPath = ("optimizers", label)
    for position, rule in enumerate(entry.rules):
        yield from _rule_findings(rule, folder, (*path, "rules", position))
    yield from _shadowed_rules(entry, path)
    yield from _closure_findings(suite, entry, folder, path)
    yield from _schedule_findings(suite, entry, label, folder, infos)
    yield from _horizon_findings(suite, entry, label)
    yield from _warmup_findings(suite, entry, label, infos)
    yield from _batch_findings(suite, entry, path, infos)


def _rule_findings(rule: Rule, folder: Path, path: TypedPath) -> Iterator[Finding]:
    arguments = dict(rule.arguments)
    rate = arguments.get("lr")
    if is_scaled(rate):
        if message := rate_problem(rate):
            yield (*path, "arguments", "lr"), message
        arguments["lr"] = 1.0
    yield from optimizer_findings(rule.use, arguments, folder, (*path, "arguments"), use_path=(*path, "use"))
    yield from _parameter_kind_findings(rule.parameters, path)
    for position, group in enumerate(rule.groups):
        here: TypedPath = (*path, "groups", position)
        yield from _parameter_kind_findings(group.parameters, here)
        with suppress(OptbenchError):  # already reported
            yield from group_findings(rule.use, group.arguments, folder, here)


def _parameter_kind_findings(parameters: str, path: TypedPath) -> Iterator[Finding]:
    """Yield a misspelt kind of parameters."""
    close = get_close_matches(parameters, _KINDS, n=1, cutoff=0.75)
    if parameters not in _KINDS and close:
        message = f"unknown kind of parameters '{parameters}'; did you mean '{close[0]}'?"
        yield (*path, "parameters"), message


def _shadowed_rules(entry: Optimizer, path: TypedPath) -> Iterator[Finding]:
    """Yield rules that match no parameter, since earlier rules match all of them."""
    earlier: list[str] = []
    for position, rule in enumerate(entry.rules):
        here = (*path, "rules", position, "parameters")
        takes_all = next((kind for kind in ("all", "rest") if kind in earlier), None)
        if takes_all:
            yield here, f"this rule matches no parameters: an earlier rule matches '{takes_all}'"
        elif rule.parameters in earlier:
            yield here, f"this rule matches no parameters: an earlier rule matches '{rule.parameters}'"
        earlier.append(rule.parameters)


def _closure_findings(suite: Suite, entry: Optimizer, folder: Path, path: TypedPath) -> Iterator[Finding]:
    for position, rule in enumerate(entry.rules):
        try:
            needs = bool(entry.closure)
            if entry.closure is None:
                needs = requires_closure(lookup.resolve("optimizers", rule.use, folder))
        except OptbenchError:
            continue  # already reported
        here = (*path, "rules", position, "use")
        if (needs or entry.create_graph) and suite.precision == "fp16":
            message = "a closure or create_graph is not compatible with the gradient scaler of fp16; expected precision bf16 or fp32"
            yield here, message
        if needs and len(entry.rules) > 1:
            message = "an optimizer that needs a closure can't be one of several rules: the rules would not step together"
            yield here, message
            return
    if entry.closure == "loss_only" and merged(suite, entry).clip is not None:
        yield (*path, "closure"), LOSS_ONLY_CLIP


def _horizon_findings(suite: Suite, entry: Optimizer, label: str) -> Iterator[Finding]:
    """Yield schedules that require a length in steps, which a budget in seconds does not define."""
    schedule = merged(suite, entry).schedule
    if schedule is None or entry.horizon is not None:
        return
    if schedule.name in ("constant", "reduce_on_plateau") and not (
        schedule.warmup and schedule.warmup.unit == "percent"
    ):
        return
    path: TypedPath = ("optimizers", label, "schedule") if entry.schedule is not None else ("schedule",)
    for workload in suite.workloads.values():
        if workload.budget.unit == "seconds":
            yield (
                path,
                f"the schedule '{schedule.name}' requires a length in steps, which a budget in seconds does not define; "
                "add 'horizon: 10 epochs' to the optimizers, or use 'schedule: constant'",
            )
            return


def _schedule_findings(
    suite: Suite, entry: Optimizer, label: str, folder: Path, infos: Mapping[str, DataInfo | None]
) -> Iterator[Finding]:
    """Yield the problems of the entry's schedule, or the suite's, over the horizon of each workload."""
    schedule, path = entry.schedule, ("optimizers", label, "schedule")
    if schedule is not None:
        yield from schedule_findings(schedule, folder, path)
    schedule = merged(suite, entry).schedule
    if schedule is None or list(schedule_findings(schedule, folder, path)):
        return
    names: list[str] = []
    for rule in entry.rules:
        with suppress(OptbenchError):  # already reported
            names += signature(lookup.resolve("optimizers", rule.use, folder)).names
        for _, text in names_in(rule.arguments):
            with suppress(OptbenchError):  # no optimizer's name, or reported already
                names += signature(lookup.resolve("optimizers", text, folder)).names
    for name, workload in suite.workloads.items():
        length = _steps_of_horizon(entry, workload, infos.get(name))
        total, per_epoch = length or (None, 1)
        warm = schedule.warmup.steps(total, per_epoch) if schedule.warmup and total else 0
        rest = None if total is None else max(1, total - warm)
        here: TypedPath = path if entry.schedule is not None else ("schedule",)
        yield from run_findings(schedule, folder, here, Conditions(rest, per_epoch, tuple(names)))


def _steps_of_horizon(entry: Optimizer, workload: Workload, info: DataInfo | None) -> tuple[int, int] | None:
    """Return the numbers of steps of the horizon and of an epoch; None if they are not known before the run."""
    whole = entry.horizon or workload.budget
    if whole.unit == "seconds" or info is None:
        return None
    size = entry.batch_size or workload.batch_size
    per_epoch = max(1, info.train // max(1, info.train if size == "full" else size))
    return whole.steps(per_epoch), per_epoch


def _warmup_findings(
    suite: Suite, entry: Optimizer, label: str, infos: Mapping[str, DataInfo | None]
) -> Iterator[Finding]:
    """Yield a warmup that is longer than the horizon: the learning rate would never reach its value."""
    schedule = merged(suite, entry).schedule
    if schedule is None or schedule.warmup is None:
        return
    path: TypedPath = ("optimizers", label, "schedule") if entry.schedule is not None else ("schedule",)
    for name, workload in suite.workloads.items():
        length = _steps_of_horizon(entry, workload, infos.get(name))
        if length is None:
            continue
        total, per_epoch = length
        whole = entry.horizon or workload.budget
        warm = schedule.warmup.steps(total, per_epoch)
        if warm > total:
            yield (
                (*path, "warmup"),
                f"a warmup of {counted(warm, 'step')} is longer than the {counted(total, 'step')} of {whole}: the learning rate would "
                "never reach its value; expected less, as in 5%",
            )
            return


def _batch_findings(
    suite: Suite, entry: Optimizer, path: TypedPath, infos: Mapping[str, DataInfo | None]
) -> Iterator[Finding]:
    if entry.batch_size is None or entry.batch_size == "full":
        return
    here = (*path, "batch_size")
    for name, info in infos.items():
        if info is not None and entry.batch_size > info.train:
            message = (
                f"a batch of {entry.batch_size} is larger than the training split ({info.train} samples)"
            )
            yield here, message
            return
        accumulate = suite.workloads[name].accumulate
        if accumulate > entry.batch_size:
            message = (
                f"expected at least the {accumulate} micro-batches of 'accumulate'; found {entry.batch_size}"
            )
            yield here, message
            return
