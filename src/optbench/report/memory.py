"""Report of predicted (and measured) memory: a table and notes per workload."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from optbench.forecasts import BAND, Forecast
from optbench.report.cells import Record
from optbench.report.document import Block, Column, Report, Section, Table
from optbench.report.text import clean

_MIB = 2**20


def memory_block(heading: str, facts: str, forecasts: Sequence[Forecast]) -> tuple[Block, pd.DataFrame]:
    """Return one workload's table with notes, and a tidy frame with one row per forecast, sizes in bytes."""
    frame = pd.DataFrame([_record(heading, forecast) for forecast in forecasts])
    block = Block(
        heading=clean(heading),
        facts=clean(f"{facts}; {_model_facts(forecasts[0])}"),
        tables=(Table.of("Memory in MiB and as a multiple (x) of the parameters", _columns(frame), frame),),
        notes=tuple(_notes(forecasts)),
        warnings=tuple(_warnings(forecasts)),
    )
    return block, frame


def memory_report(title: str, blocks: Sequence[tuple[Block, pd.DataFrame]]) -> Report:
    """Return the report of several blocks of `memory_block`."""
    section = Section(clean(title), "", tuple(block for block, _ in blocks))
    warnings = [
        {"workload": block.heading, "message": message} for block, _ in blocks for message in block.warnings
    ]
    table = pd.concat([frame for _, frame in blocks], ignore_index=True)
    return Report((section,), table, pd.DataFrame(warnings, columns=["workload", "message"]))


def _record(workload: str, forecast: Forecast) -> dict[str, Any]:
    model, optimizer, total = forecast.model, forecast.optimizer, forecast.total_bytes
    measured = forecast.measured_bytes
    sizes = {
        "parameter_bytes": model.parameter_bytes,
        "fixed_bytes": model.fixed_bytes,
        "batch_bytes": model.batch_bytes,
        "gradient_bytes": model.gradient_bytes,
        "activation_bytes": model.activation_bytes,
        "backward_peak_bytes": model.backward_peak_bytes,
        "average_bytes": forecast.average_bytes,
        "bucket_bytes": forecast.bucket_bytes,
        "state_bytes": optimizer.state_bytes,
        "step_peak_bytes": optimizer.step_peak_bytes,
        "total_bytes": total,
        "total_low_bytes": None if total is None else round(BAND[0] * total),
        "total_high_bytes": None if total is None else round(BAND[1] * total),
        "measured_bytes": measured,
    }
    return {
        "workload": workload,
        "optimizer": forecast.label,
        "batch_size": forecast.batch_size,
        "precision": forecast.precision,
        "devices": forecast.devices,
        "sharding": forecast.sharding,
        "implementation": optimizer.implementation,
        "parameters": model.parameters,
        **{name: float("nan") if size is None else size for name, size in sizes.items()},
        "state_over_parameters": forecast.multiple(optimizer.state_bytes),
        "state_at_least": optimizer.at_least,
        "step_peak_over_parameters": forecast.multiple(optimizer.step_peak_bytes),
        "total_over_parameters": forecast.multiple(total),
        "measured_over_total": measured / total if measured and total else float("nan"),
        "note": "; ".join(text for text in (optimizer.note, optimizer.problem, model.problem) if text),
    }


def _columns(frame: pd.DataFrame) -> list[Column]:
    several = frame["batch_size"].nunique() > 1

    def label(row: Record) -> str:
        return clean(str(row["optimizer"])) + (f" (batch {row['batch_size']})" if several else "")

    columns = [
        Column("optimizer", label, text=True),
        _size("parameters", "parameter_bytes"),
        _size("gradients", "gradient_bytes"),
        _size("activations", "activation_bytes"),
        _size("\nstate", "state_bytes"),
        _multiple("state_over_parameters"),
        _size("step\npeak", "step_peak_bytes"),
        _multiple("step_peak_over_parameters"),
        _size("\ntotal", "total_bytes"),
        _multiple("total_over_parameters"),
    ]
    if frame["measured_bytes"].notna().any():
        columns += [
            _size("measured", "measured_bytes"),
            Column("error", lambda row: _percent(row["measured_over_total"])),
        ]
    return columns


def _size(title: str, name: str) -> Column:
    return Column(title, lambda row: _mib(row[name]))


def _multiple(name: str) -> Column:
    def cell(row: Record) -> str:
        value, sign = row[name], ">= " if name == "state_over_parameters" and row["state_at_least"] else ""
        return "–" if math.isnan(value) else f"{sign}{value:.{2 if value < 99.995 else 0}f}x"

    return Column("\nx", cell)


def _mib(size: float) -> str:
    """Return MiB with one decimal, three significant digits below ten, and none from 1000 on."""
    if math.isnan(size):
        return "–"
    value = size / _MIB
    if value < 5e-4:
        return "0"
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.1f}" if value >= 9.995 else f"{value:.3g}"


def _percent(ratio: float) -> str:
    """Return the relative error of the prediction, given measured / predicted."""
    return "–" if math.isnan(ratio) else f"{100 * (1 / ratio - 1):+z.1f} %"


def _model_facts(forecast: Forecast) -> str:
    model = forecast.model
    return (
        f"{model.parameters:,} parameters, buffers and frozen parameters {_mib(model.fixed_bytes)} MiB, "
        f"batch {_mib(model.batch_bytes)} MiB"
    )


def _notes(forecasts: Sequence[Forecast]) -> list[str]:
    notes = [
        "State is exact: all distinct tensors reachable from the optimizer, without scalars"
        + ("; >=: at least this much." if any(f.optimizer.at_least for f in forecasts) else "."),
        "Activations are the tensors kept from the forward for the backward pass, without parameters and the batch.",
        "Total is the predicted peak of a training step: parameters, buffers, batch and state, plus the larger of the peak of both "
        "passes (with activations and gradients) and gradients + step peak."
        + (
            " It includes the moving average of the weights."
            if any(f.average_bytes for f in forecasts)
            else ""
        ),
        _implementations(forecasts),
    ]
    if forecasts[0].devices > 1:
        notes.insert(0, _of_devices(forecasts[0]))
    if any(forecast.measured_bytes is not None for forecast in forecasts):
        notes.append(
            "Measured is the peak of the GPU's allocator over real training steps; error is that of the predicted total."
        )
    elif any(forecast.total_bytes for forecast in forecasts):
        low, high = (f"{abs(100 * (bound - 1)):.0f} %" for bound in BAND)
        notes.append(
            f"The total is not calibrated against a GPU: expect a peak of its allocator from {low} below to {high} above (assumed "
            "for workspaces of cuBLAS and cuDNN, and masks). On a machine with a GPU, --check measures it."
        )
    notes += [f"{f.label}: {f.optimizer.note}." for f in forecasts if f.optimizer.note]
    if any(f.optimizer.closure for f in forecasts):
        notes.append("With a closure, both passes run inside step(); the total is then an upper bound.")
    return [clean(note) for note in notes]


def _of_devices(forecast: Forecast) -> str:
    text = (
        f"Sizes are those of the device with the most of {forecast.devices} (sharding: {forecast.sharding}), x is relative to all "
        "parameters."
    )
    if forecast.sharding == "full":
        return f"{text} The total is not forecast: it depends on the blocks whose parameters are gathered at a time."
    return f"{text} The total includes {_mib(forecast.bucket_bytes)} MiB of buckets in which gradients are averaged."


def _implementations(forecasts: Sequence[Forecast]) -> str:
    by_name: dict[str, list[str]] = {}
    for forecast in forecasts:
        if forecast.optimizer.implementation:
            by_name.setdefault(forecast.optimizer.implementation, []).append(forecast.label)
    if len(by_name) == 1:
        return (
            f"Step peaks are for the implementation {next(iter(by_name))}; --implementation selects another."
        )
    groups = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in by_name.items())
    return f"Step peaks are for these implementations ({groups}); --implementation selects another."


def _warnings(forecasts: Sequence[Forecast]) -> list[str]:
    warnings = [f"{f.label}: {f.optimizer.problem}" for f in forecasts if f.optimizer.problem]
    unknown = next((f.model.problem for f in forecasts if f.model.problem), "")
    if unknown:
        warnings.append(
            f"activations and total are unknown: the model cannot be traced without data ({unknown})"
        )
    return [clean(warning) for warning in warnings]
