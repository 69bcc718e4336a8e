"""What a stored plan must contain: every field that something is derived from has the type that `optbench run` writes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from optbench.store.records import Corrupt, fitting
from optbench.suite.grids import Grid
from optbench.suite.published import Published


class _Content(BaseModel):
    model_config = ConfigDict(extra="allow", defer_build=True)


class _Trial(_Content):
    label: StrictStr
    entry: dict[str, Any]


class _Row(_Content):
    config_id: StrictStr
    trial: _Trial
    seeds: tuple[StrictInt, ...] = ()


class _Resolved(_Content):
    title: StrictStr | None = None
    description: StrictStr | None = None
    baseline: StrictStr | None = None
    final: StrictStr | None = None
    finals: dict[str, StrictStr] = {}
    workloads: dict[str, dict[str, Any]] = {}
    optimizers: dict[str, dict[str, Any]] = {}
    sensitivity: dict[str, Grid] = {}
    published: tuple[Published, ...] = ()


class _Leaderboard(_Content):
    base: tuple[StrictStr, ...]
    held_out: dict[str, StrictStr]


class _Provenance(_Content):
    imported: StrictStr | None = None
    findings: tuple[StrictStr, ...] = ()
    notes: tuple[StrictStr, ...] = ()
    leaderboard: _Leaderboard | None = None
    merged: tuple[dict[str, Any], ...] = ()


_Number = StrictFloat | StrictInt | None


class _Metric(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)
    higher_is_better: StrictBool
    low: _Number = None
    high: _Number = None
    unit: StrictStr = ""
    failed: _Number = None


class _Plan(_Content):
    suite: StrictStr
    rows: tuple[_Row, ...]
    seeds: tuple[StrictInt, ...]
    resolved: _Resolved
    command: StrictStr = ""
    provenance: _Provenance = _Provenance()
    metrics: dict[str, _Metric] = {}
    # of plans of older versions
    higher_is_better: dict[str, bool] = {}
    metric_ranges: dict[str, tuple[_Number, _Number]] = {}


def check_plan(content: dict[str, Any]) -> None:
    """Raise `Corrupt`, with the place of the first field that is not what `optbench run` writes."""
    try:
        _Plan.model_validate(fitting(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "plan"
        raise Corrupt(f"'{place}' has content that `optbench run` does not write: {first['msg']}") from None
