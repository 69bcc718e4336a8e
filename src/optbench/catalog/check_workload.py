"""Check a workload: its model, data, metrics and targets, and their compatibility."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.arguments import Finding, TypedPath
from optbench.catalog.check_component import component_findings, said
from optbench.catalog.data_sets import describe_data
from optbench.catalog.metric_contract import metric_facts, metric_problems
from optbench.catalog.model_facts import model_facts
from optbench.catalog.signatures import signature
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError
from optbench.suite.types import Component, Target, Workload

#: number of outputs for the test of a metric if the data set is not known
_CLASSES = 10


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
                place = ("arguments", "path") if problem.file and "path" in data.arguments else ("name",)
                found.append(((*path, *place), said(problem)))
    except Exception as error:  # a data set in somebody's own file may raise anything
        found.append(((*path, "name"), f"describing '{data.name}' failed: {type(error).__name__}: {error}"))
    return found, None


def model_findings(
    model: Component, folder: Path, path: TypedPath, info: DataInfo | None, *, build: bool
) -> list[Finding]:
    """Return unknown names and arguments. Builds the model on torch's meta device with `build`, or if its source is not enough."""
    found = list(component_findings("models", model, folder, path))
    if found or info is None:
        return found
    if model.name.startswith("torchvision.models.") and len(info.shape) != 3:
        return [((*path, "name"), f"'{model.name}' requires images; found data of shape {info.shape}")]
    read = signature(lookup.resolve("models", model.name, folder))
    unseen = read.accepts_any and not set(model.arguments) <= set(read.names)
    if (build or unseen or len(info.shape) == 1) and (message := _build_error(model, folder, info)):
        found.append(((*path, "name"), message))
    return found


def metric_findings(
    workload: Workload, folder: Path, path: TypedPath, info: DataInfo | None
) -> Iterator[Finding]:
    """Yield unknown metrics, own metrics that fail, and targets that cannot be reached or have the wrong direction."""
    classes = info.classes if info is not None else _CLASSES
    of_targets = {target.metric for target in workload.target}
    for position, metric in enumerate(workload.metrics):
        own = metric in workload.own_metrics
        if own and metric in lookup.items("metrics"):
            yield (
                (*path, "own_metrics", metric),
                f"'{metric}' is a metric of the catalog: choose another name",
            )
        elif own or metric not in of_targets:
            place = ("own_metrics", metric) if own else ("metrics", position)
            for message in _metric_messages(workload, metric, folder, classes):
                yield (*path, *place), message
    for position, target in enumerate(workload.target):
        yield from _target(workload, target, folder, (*path, "target", position), classes)


def _metric_messages(workload: Workload, metric: str, folder: Path, classes: int) -> Iterator[str]:
    try:
        for problem in metric_problems(workload.metric_code(metric), folder, classes):
            yield said(problem)
    except OptbenchError as error:
        yield said(error.problems[0])


def size_findings(workload: Workload, path: TypedPath, info: DataInfo | None) -> Iterator[Finding]:
    """Yield batches larger than the data, more micro-batches than samples, and image augmentation of vectors."""
    full = info.train if info is not None else None
    size = full if workload.batch_size == "full" else workload.batch_size
    if size is not None and workload.accumulate > size:
        yield (
            (*path, "accumulate"),
            f"expected at most the batch size, {size}; found {workload.accumulate}",
        )
    if info is None:
        return
    if size is not None and size > info.train:
        message = f"a batch of {size} is larger than the training split ({info.train} samples)"
        yield (*path, "batch_size"), message
    for split, samples in (("training", info.train), ("validation", info.validation), ("test", info.test)):
        if samples < 1:
            message = f"expected samples in each of training, validation and test; found none for {split}"
            yield (*path, "data"), message
    for setting in sorted(workload.augment.model_fields_set) if len(info.shape) == 1 else ():
        if getattr(workload.augment, setting):
            yield (*path, "augment", setting), f"requires images; found data of shape {info.shape}"
    if workload.memory_format == "channels_last" and len(info.shape) == 1:
        yield (*path, "memory_format"), f"channels_last requires images; found data of shape {info.shape}"


def _target(
    workload: Workload, target: Target, folder: Path, path: TypedPath, classes: int
) -> Iterator[Finding]:
    if target.metric not in workload.own_metrics:
        messages = list(_metric_messages(workload, target.metric, folder, classes))
        if messages:
            yield (*path, "metric"), messages[0]
            return
    try:
        facts = metric_facts(lookup.resolve("metrics", workload.metric_code(target.metric), folder))
    except OptbenchError:
        return  # reported for `own_metrics`
    low, high = facts.get("LOW"), facts.get("HIGH")
    bound = "at_least" if target.at_least is not None else "at_most"
    if (low is not None and target.value < low) or (high is not None and target.value > high):
        yield (*path, bound), _out_of_range(target, low, high)
    elif facts.get("HIGHER_IS_BETTER") is (bound == "at_most"):
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


def _build_error(model: Component, folder: Path, info: DataInfo) -> str:
    """Build the model without memory and return the error message, "" if none. Imports torch."""
    import torch

    try:
        target = lookup.resolve("models", model.name, folder)
        item = lookup.load(target)
        names = signature(target).names
        facts = model_facts(info.shape, info.classes)
        given = {key: value for key, value in facts.items() if key in names}
        arguments = {key: value for key, value in model.arguments.items() if key != "weights"}  # no downloads
        with torch.device("meta"):
            getattr(item, "build", item)(**{**given, **arguments})
    except OptbenchError as error:
        return "; ".join(said(problem) for problem in error.problems)
    except Exception as error:  # a model in somebody's own file may raise anything
        return f"building '{model.name}' failed: {error or type(error).__name__}"
    return ""
