"""Intervals of metrics end at the range that the plan states."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optbench.analysis.table import comparison
from optbench.events import Finished
from optbench.store import read
from optbench.suite.metric_facts import MetricFacts
from results_builder import a_suite, curve, write


@pytest.mark.parametrize(
    ("stated", "low", "high"),
    [
        (MetricFacts(True, 0.0, 1.0), 0.0, 1.0),
        (MetricFacts(True, 0.25, None), 0.25, 2.3383),
        (MetricFacts(True), -0.8383, 2.3383),  # 0.75 -+ 12.7062 x 0.17678 / sqrt(2)
    ],
)
def test_an_interval_of_a_metric_ends_at_its_stated_range(
    stated: MetricFacts, low: float, high: float, tmp_path: Path
) -> None:
    suite = a_suite(seeds=2, metrics=("auroc",), target=())
    events: dict[tuple[str, int], Any] = {}
    for label in ("SGD", "Adam"):
        for seed, value in ((0, 0.625), (1, 0.875)):
            events[label, seed] = curve([value])
            for event in events[label, seed]:
                if isinstance(event, Finished):
                    event.final["last"]["auroc"] = value
    folder = write(tmp_path, suite, events)
    plan = folder.read_plan()
    assert plan is not None
    folder.write_plan(replace(plan, metrics={"auroc": stated}))
    row = comparison(read([tmp_path])).set_index("optimizer").loc["Adam"]
    assert (row["final_metric_low"], row["final_metric_high"]) == pytest.approx((low, high), abs=1e-4)
