"""Read the scalars of TensorBoard's event files.

Each folder with event files is a run, called by its path: `<optimizer>/<seed>`, unless hyperparameters called `optimizer`
and `seed`, --map or --runs say otherwise. Folders `train` and `validation`, as Keras writes them, are splits of one run.
Seconds count from the first event of a run: they
include evaluations and pauses. Needs the package of TensorBoard: pip install 'optbench[tensorboard]'.

Examples:
  optbench import tensorboard runs --target 'accuracy>=0.9'
  optbench import tensorboard runs --runs '{optimizer}_seed{seed}' --map validation.accuracy=Accuracy/val
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.importing.columns import SPLITS
from optbench.importing.findings import Findings
from optbench.importing.readers._folders import find_runs
from optbench.importing.tables import Table, columns_of

_MARK = "tfevents"
Scalar = tuple[float, int, str, float]  # wall time, step, tag, value


@dataclass
class _Run:
    scalars: list[Scalar] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    start: float = math.inf  # wall time of the first event


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per run. Raises `OptbenchError` if TensorBoard is not installed or a path has no event file."""
    loader = _library()
    runs: dict[str, _Run] = {}
    for name, files in find_runs(
        paths, lambda file: _MARK in file.name, f"files with '{_MARK}' in their name"
    ):
        events = [event for file in files for event in loader(str(file)).Load()]
        scalars = list(_scalars(events))
        parent, _, last = name.rpartition("/")
        tags = _tags_in_parent(last, [tag for _, _, tag, _ in scalars], parent in runs) if parent else None
        run = runs.setdefault(name if tags is None else parent, _Run())
        run.scalars += [(time, step, tags[tag] if tags else tag, value) for time, step, tag, value in scalars]
        run.settings |= _settings(events)
        run.start = min([run.start, *(event.wall_time for event in events)])
    empty = [name for name, run in runs.items() if not run.scalars]
    if len(empty) == len(runs):
        raise OptbenchError(*(Problem("no scalars in these event files", file=str(path)) for path in paths))
    findings.note("folders of event files without scalars: skipped", ", ".join(empty[:3]), len(empty))
    return [_table(name, run) for name, run in runs.items() if run.scalars]


def _tags_in_parent(folder: str, tags: Sequence[str], has_parent: bool) -> dict[str, str] | None:
    """Return the names that the tags of a folder have in the run of its parent, None if the folder is a run itself.

    Keras writes a folder per split. PyTorch's `add_scalars("loss", {"train": ...})` writes the tag `loss` into a folder
    `loss_train` of the run, and `add_hparams` writes into a folder called by the time.
    """
    split = SPLITS.get(folder.lower())
    if split is not None:
        return {tag: f"{split}.{tag}" for tag in tags}
    if not has_parent:
        return None
    if re.fullmatch(r"\d{9,}\.\d+", folder):
        return {tag: tag for tag in tags}
    starts = {tag: tag.replace("/", "_") + "_" for tag in tags}
    if all(folder.startswith(start) for start in starts.values()):
        return {tag: f"{tag}_{folder.removeprefix(start)}" for tag, start in starts.items()}
    return None


def _library() -> Any:
    try:
        return import_module("tensorboard.backend.event_processing.event_file_loader").EventFileLoader
    except ImportError as error:
        message = "requires tensorboard, which is not installed: pip install 'optbench[tensorboard]'"
        raise OptbenchError(message, where="import tensorboard") from error


def _scalars(events: Iterable[Any]) -> Iterator[Scalar]:
    """Yield the scalars of events, which the loader turns into tensors."""
    make_array = import_module("tensorboard.util.tensor_util").make_ndarray
    for event in events:
        for value in event.summary.value:
            if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
                yield event.wall_time, event.step, value.tag, float(make_array(value.tensor).item())


def _settings(events: Iterable[Any]) -> dict[str, Any]:
    """Return the hyperparameters that the plugin for them wrote."""
    parse = import_module("tensorboard.plugins.hparams.plugin_data_pb2").HParamsPluginData.FromString
    settings: dict[str, Any] = {}
    for event in events:
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                found = parse(value.metadata.plugin_data.content).session_start_info.hparams
                settings |= {
                    name: getattr(each, each.WhichOneof("kind") or "", None) for name, each in found.items()
                }
    return settings


def _table(name: str, run: _Run) -> Table:
    values = ((time - run.start, step, tag, value) for time, step, tag, value in run.scalars)
    return Table(name, columns_of(values), run=name, constants=run.settings)
