"""A resolved suite can be written out and loaded again, to an equal one."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.suite.dump import dump_text
from optbench.suite.find import shipped
from optbench.suite.load import Loaded, load
from optbench.suite.plan import plan

SUITE = """\
title: 'true'
workloads:
  "1e-3": {model: mlp, data: {name: synthetic, shape: [3, 8, 8], name2: 'no: #x'}, batch_size: 8, budget: 1.5 epochs}
  b: {model: mlp, data: digits, batch_size: 8, budget: 60 seconds, target: [{at_least: 1e-7}], augment: {flip: true}}
clip: {value: 1}
schedule: {name: cosine, warmup: 2.5%, arguments: {name: 3}}
optimizers:
  A: adam
  B: {use: sgd, lr: 1e-8, clip: null, no_weight_decay: [], arguments: {clip: 1, parameters: 2}}
  C: {use: [{parameters: matrices, use: muon, arguments: {use: 1}}, {parameters: rest, use: adamw, lr: 3}], ema: {decay: 0.9}}
  D: {use: [{parameters: rest, use: sgd}], horizon: 3 epochs, closure: false}
"""


def check_round_trip(path: Path, again: Path) -> tuple[Loaded, Loaded]:
    first = load(path)
    again.write_text(dump_text(first.suite))
    second = load(again)
    assert second.suite == first.suite
    assert list(second.suite.optimizers) == list(first.suite.optimizers)
    return first, second


def test_a_suite_with_everything_survives(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SUITE)
    first, second = check_round_trip(path, tmp_path / "again.yaml")
    assert [t.id for t in plan(second)] == [t.id for t in plan(first)]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_suites_survive(name: str, tmp_path: Path) -> None:
    check_round_trip(shipped()[name], tmp_path / "again.yaml")
