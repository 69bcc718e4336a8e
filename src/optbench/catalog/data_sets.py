"""Describe and load the data set of a suite, from the catalog or a file, as checked `Splits`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optbench.catalog import lookup, sources
from optbench.catalog.data._split import channel_statistics
from optbench.catalog.data_checks import checked
from optbench.catalog.torch_data import pairs_of, streamed
from optbench.catalog.types import DataInfo, Split, Splits, named_arrays
from optbench.errors import OptbenchError
from optbench.suite.types import Component, Trial


def describe_data(component: Component, root: Path, folder: str | Path = ".") -> DataInfo:
    """Return sizes, shape and classes. An own data set without `describe` is loaded for this."""
    found = lookup.load(lookup.resolve("data", component.name, folder))
    if not hasattr(found, "describe"):
        return load_data(component, root, folder).info
    made = _called(component, found.describe, root, folder)
    if not isinstance(made, DataInfo):
        raise OptbenchError(
            f"data {component.name}: describe: expected a DataInfo; found {type(made).__name__}"
        )
    return made


def identified_by_data(trials: Sequence[Trial], root: Path) -> tuple[Trial, ...]:
    """Return the trials; their sources include the fingerprint of data that may change under the same name, such as an image folder."""
    known: dict[str, str] = {}
    keys: dict[int, str] = {}  # by object: the trials of a row share theirs
    made = []
    for trial in trials:
        data = trial.workload.data
        key = keys.get(id(data))
        if key is None:
            key = f"{data.model_dump_json()}{trial.folder}" if "path" in data.arguments else ""
            keys[id(data)] = key
        if key and key not in known:
            known[key] = describe_data(data, root, trial.folder).fingerprint
        found = known.get(key, "")
        made.append(
            trial.model_copy(update={"sources": {**trial.sources, "data": found}}) if found else trial
        )
    return tuple(made)


def load_data(component: Component, root: Path, folder: str | Path = ".") -> Splits:
    """Return the samples, checked; `folder` is the suite's.

    Raises `OptbenchError` for missing or unreadable data, and for data that violate the contract in `optbench.catalog.data`.
    """
    target = lookup.resolve("data", component.name, folder)
    found = lookup.load(target)
    load = getattr(found, "load", found)
    if not callable(load):
        raise OptbenchError(f"data {component.name}: expected a module with 'load', or a function")
    stated = sources.constants(target.file) if target.file is not None else {}
    is_streamed = stated.get("STREAM") is True
    try:
        made = _called(component, load, root, folder)
        if is_streamed:
            made = streamed(component.name, made, task_of(component, folder), stated.get("CLASSES"))
        else:
            made = pairs_of(component.name, made)
    except (OptbenchError, MemoryError, OSError):
        raise
    except (Exception, SystemExit) as error:  # user code of a data set may raise any exception
        raise OptbenchError(lookup.raised(target, error, f"data {component.name}: load")) from error
    splits = (
        made if isinstance(made, Splits) else _from_pairs(component.name, made, task_of(component, folder))
    )
    if target.kind != "catalog" and hasattr(found, "describe"):
        splits = replace(splits, info=describe_data(component, root, folder))  # what models are built for
    return splits if is_streamed else checked(component.name, splits)


def is_stream(component: Component, folder: str | Path = ".") -> bool:
    """Return whether the samples are read during training: `STREAM = True`, a literal in the file of the data set.

    Raises `OptbenchError` for an unknown data set.
    """
    target = lookup.resolve("data", component.name, folder)
    return target.file is not None and sources.constants(target.file).get("STREAM") is True


def _called(component: Component, function: Callable[..., Any], root: Path, folder: str | Path) -> Any:
    """Call the function. A relative `path` is resolved beside the suite if it exists there, else below the data root."""
    arguments = dict(component.arguments)
    path = arguments.get("path")
    if not isinstance(path, str) or Path(path).expanduser().is_absolute():
        return function(root, **arguments)
    beside, below = (Path(folder) / path).resolve(), root / path
    arguments["path"] = str(beside if beside.exists() else below)
    try:
        return function(root, **arguments)
    except OptbenchError as error:
        if beside.exists() or below.exists():
            raise
        hint = f" (looked in the data root; it isn't beside the suite either, in {beside.parent})"
        raise OptbenchError(*(replace(p, message=p.message + hint) for p in error.problems)) from error


def _from_pairs(name: str, made: Any, task: str) -> Splits:
    if task != "classification":
        return _from_arrays(name, made, task)
    try:
        first, second, third = made
        train, validation = _split(name, "training", *first), _split(name, "validation", *second)
        test = _split(name, "test", *third)
    except (TypeError, ValueError, RuntimeError) as error:  # of torch: a tensor that numpy cannot read
        raise OptbenchError(
            f"data {name}: expected Splits, or three pairs (inputs, labels) for training, validation and test: {error}"
        ) from error
    shapes = {part.array.shape[1:] for part in (train, validation, test)}
    if len(shapes) > 1:
        raise OptbenchError(f"data {name}: expected one shape in all splits; found {sorted(shapes)}")
    classes = 1 + max(int(part.labels.max(initial=0)) for part in (train, validation, test))
    samples = sum(len(part.labels) for part in (train, validation, test))
    if classes > max(2, samples):
        raise OptbenchError(
            f"data {name}: expected labels from 0 to the number of classes - 1; found {classes - 1}"
        )
    shape = train.array.shape[1:]
    info = DataInfo(len(train.labels), len(validation.labels), len(test.labels), shape, classes, name)
    mean, std = channel_statistics(train.array) if len(shape) == 3 else ((), ())
    return Splits(train, validation, test, info, mean, std)


def _from_arrays(name: str, made: Any, task: str) -> Splits:
    """Return the splits of three pairs (inputs, targets) of arrays, or dictionaries of arrays, of any shape."""
    import numpy as np

    def arrays(values: Any, key: str = "") -> Any:
        if isinstance(values, dict) and not key:
            return {str(key): arrays(value, str(key)) for key, value in values.items()}
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            found = "a dictionary" if isinstance(values, dict) else f"{array.dtype} {array.shape}"
            raise OptbenchError(
                f"data {name}:{key and f' {key}:'} expected an array of numbers; found {found}"
            )
        return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array

    try:
        parts = [Split(arrays(inputs), arrays(targets)) for inputs, targets in made]
        train, validation, test = parts
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptbenchError(
            f"data {name}: expected Splits, or three pairs (inputs, targets) for training, validation and test: {error}"
        ) from error
    first = train.targets
    if task in ("regression", "forecasting") and not isinstance(first, dict) and first.ndim == 1:
        parts = [Split(part.inputs, part.labels[:, None]) for part in parts]
        train, validation, test = parts
    shape: tuple[int, ...] = () if isinstance(train.inputs, dict) else train.inputs.shape[1:]
    whole = [part.targets for part in parts if not isinstance(part.targets, dict)]
    if task == "language":
        inputs = [array for part in parts for array in named_arrays(part.inputs, "inputs").values()]
        tokens = [array for array in (*inputs, *whole) if array.dtype.kind in "iu"]
        if not whole or any(array.ndim != 2 for array in tokens) or len(tokens) <= len(whole):
            raise OptbenchError(f"data {name}: expected tokens and next tokens, whole numbers (n, context)")
        shape, classes = tokens[0].shape[1:], 1 + max(int(array.max(initial=0)) for array in tokens)
    else:
        classes = whole[0].shape[1] if whole and whole[0].ndim == 2 else 0
    facts = (
        {"input_names": tuple(train.inputs)} if task == "language" and isinstance(train.inputs, dict) else {}
    )
    info = DataInfo(
        train.samples, validation.samples, test.samples, shape, classes, name, task=task, facts=facts
    )
    return Splits(train, validation, test, info)


def task_of(component: Component, folder: str | Path = ".") -> str:
    """Return the name of a data set's task: its argument `task`, else the literal `TASK` in its file, else classification.

    Reads the source only. Raises `OptbenchError` for an unknown data set.
    """
    written = component.arguments.get("task")
    if isinstance(written, str):
        return written
    target = lookup.resolve("data", component.name, folder)
    stated = sources.constants(target.file).get("TASK") if target.file is not None else None
    return stated if isinstance(stated, str) else "classification"


def _split(name: str, title: str, inputs: Any, labels: Any) -> Split:
    import numpy as np

    if isinstance(inputs, dict) or isinstance(labels, dict):
        raise OptbenchError(
            f"data {name}: {title}: expected arrays for a classification; found dictionaries of arrays: add TASK = 'custom', or the "
            "name of another task, to the file"
        )
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    if inputs.dtype == np.uint8 and inputs.ndim == 3:
        inputs = inputs[:, None]
    if inputs.dtype.kind == "f" and inputs.ndim == 2:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which is an error
            inputs = inputs.astype(np.float32, copy=False)
    elif inputs.dtype != np.uint8 or inputs.ndim != 4:
        raise OptbenchError(
            f"data {name}: {title}: expected images as uint8 (n, channels, height, width) or vectors as floats (n, features); "
            f"found {inputs.dtype} {inputs.shape}"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(inputs):
        raise OptbenchError(
            f"data {name}: {title}: expected {len(inputs)} labels, whole numbers from 0; found {labels.dtype} {labels.shape}; "
            "for another task than classification, add for example TASK = 'regression' to the file"
        )
    return Split(np.ascontiguousarray(inputs), labels.astype(np.int64))
