"""Read the scalars of TensorBoard's event files.

Each folder with event files is a run, called by its path: `<optimizer>/<seed>`, unless --runs says otherwise. Folders
`train` and `validation`, as Keras writes them, are splits of one run. Seconds count from the first event of a run: they
include evaluations and pauses. Needs the package of TensorBoard: pip install 'optbench[tensorboard]'.

Examples:
  optbench import tensorboard runs --target 'accuracy>=0.9'
  optbench import tensorboard runs --runs '{optimizer}_seed{seed}' --map validation.accuracy=Accuracy/val
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
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


def read(paths: Sequence[Path], findings: Findings) -> list[Table]:
    """Return one table per run. Raises `OptbenchError` if TensorBoard is not installed or a path has no event file."""
    loader = _library()
    runs: dict[str, list[Scalar]] = {}
    starts: dict[str, float] = {}
    for name, files in find_runs(
        paths, lambda file: _MARK in file.name, f"files with '{_MARK}' in their name"
    ):
        parent, _, last = name.rpartition("/")
        split = SPLITS.get(last.lower(), "") if parent else ""
        run = parent if split else name
        events = [event for file in files for event in loader(str(file)).Load()]
        scalars = list(_scalars(events, split))
        findings.note("folders of event files without scalars: left out", name, not scalars)
        if scalars:
            runs.setdefault(run, []).extend(scalars)
            starts[run] = min(starts.get(run, math.inf), *(event.wall_time for event in events))
    if not runs:
        raise OptbenchError(*(Problem("no scalars in these event files", file=str(path)) for path in paths))
    return [
        Table(
            name,
            columns_of((time - starts[name], step, tag, value) for time, step, tag, value in scalars),
            run=name,
        )
        for name, scalars in runs.items()
    ]


def _library() -> Any:
    try:
        return import_module("tensorboard.backend.event_processing.event_file_loader").EventFileLoader
    except ImportError as error:
        message = "needs tensorboard, which is not installed here: pip install 'optbench[tensorboard]'"
        raise OptbenchError(Problem(message, where="import tensorboard")) from error


def _scalars(events: Iterable[Any], split: str) -> Iterator[Scalar]:
    """Yield the scalars of events, which the loader turns into tensors."""
    make_array = import_module("tensorboard.util.tensor_util").make_ndarray
    for event in events:
        for value in event.summary.value:
            if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
                tag = f"{split}.{value.tag}" if split else value.tag
                yield event.wall_time, event.step, tag, float(make_array(value.tensor).item())
