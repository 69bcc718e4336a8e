"""Event files for TensorBoard: one run per trial, scalars by step with training seconds as wall time, hyperparameters.

Scalars are float32, as TensorBoard keeps them. The bytes follow from the records alone, so a repeated export changes nothing.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from optbench.exporting._runs import Run, Written
from optbench.store.files import folder_name, make_folder, write_whole

LIBRARIES = ("tensorboard",)
#: what TensorBoard looks for in a file's name, and ours
_FILE = "events.out.tfevents.0.optbench"


def export(runs: Iterable[Run], output: Path) -> Written:
    """Write `<output>/<suite>/<trial>/events.out.tfevents...`. Raises `OptbenchError` if that fails."""
    new = same = replaced = 0
    for run in runs:
        folder = output / folder_name(run.suite) / run.name
        make_folder(folder)
        path, content = folder / _FILE, _content(run)
        known = path.read_bytes() if path.exists() else None
        if known == content:
            same += 1
            continue
        write_whole(path, content)
        new, replaced = new + (known is None), replaced + (known is not None)
    return Written(new, same, replaced)


def next_step(output: Path) -> str:
    return f"tensorboard --logdir {output}"


def _content(run: Run) -> bytes:
    writer = import_module("tensorboard.summary.writer.record_writer").RecordWriter
    buffer = io.BytesIO()
    records = writer(buffer)
    for event in _events(run):
        records.write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()


def _events(run: Run) -> Iterator[Any]:
    event = import_module("tensorboard.compat.proto.event_pb2").Event
    yield event(wall_time=0.0, file_version="brain.Event:2")
    for summary in (_start(run), _text("status", f"{run.status}\n\n{run.detail}"), _text("trial", run.name)):
        yield event(wall_time=0.0, step=0, summary=summary)
    for point in run.points:
        seconds = point.train_seconds if math.isfinite(point.train_seconds) else 0.0
        yield event(wall_time=seconds, step=point.step, summary=_scalars(point.values))
    last = run.points[-1] if run.points else None
    seconds = last.train_seconds if last and math.isfinite(last.train_seconds) else 0.0
    final = {f"final/{name}": value for name, value in run.final.items()}
    yield event(wall_time=seconds, step=last.step if last else 0, summary=_scalars(final))
    yield event(wall_time=seconds, step=0, summary=_end(run, seconds))


def _scalars(values: dict[str, float]) -> Any:
    summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
    return summary(value=[summary.Value(tag=tag, simple_value=_float32(v)) for tag, v in values.items()])


def _float32(value: float) -> float:
    """Return the nearest float32; an infinity beyond its range, where protobuf would raise."""
    import numpy as np

    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _text(tag: str, text: str) -> Any:
    summary = import_module("tensorboard.compat.proto.summary_pb2")
    tensor = import_module("tensorboard.compat.proto.tensor_pb2").TensorProto(dtype=7)  # a string
    tensor.string_val.append(text.encode("utf-8", "backslashreplace"))
    plugin = summary.SummaryMetadata.PluginData(plugin_name="text")
    metadata = summary.SummaryMetadata(plugin_data=plugin, data_class=summary.DATA_CLASS_TENSOR)
    return summary.Summary(value=[summary.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])


def _start(run: Run) -> Any:
    """Return the hyperparameters, by `hparams_pb` of the library, with the time of the trial."""
    hparams = import_module("tensorboard.plugins.hparams.summary_v2")
    data = import_module("tensorboard.plugins.hparams.plugin_data_pb2").HParamsPluginData
    summary = hparams.hparams_pb(run.settings, trial_id=run.id, start_time_secs=run.started_at)
    for value in summary.value:  # its maps come in any order: in one order, the bytes are the same each time
        plugin = value.metadata.plugin_data
        plugin.content = data.FromString(plugin.content).SerializeToString(deterministic=True)
    return summary


def _end(run: Run, seconds: float) -> Any:
    api = import_module("tensorboard.plugins.hparams.api_pb2")
    plugin = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    hparams = import_module("tensorboard.plugins.hparams.summary_v2")
    metadata = import_module("tensorboard.plugins.hparams.metadata")
    status = api.STATUS_SUCCESS if run.is_successful else api.STATUS_FAILURE
    if run.status in ("unfinished", "interrupted"):
        status = api.STATUS_UNKNOWN
    info = plugin.SessionEndInfo(status=status, end_time_secs=run.started_at + seconds)
    data = plugin.HParamsPluginData(session_end_info=info)
    return hparams._summary_pb(metadata.SESSION_END_INFO_TAG, data)
