"""The JSON Schema accepts what the loader accepts, as it is written, and refuses typical mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from optbench.suite.dump import dump
from optbench.suite.find import shipped
from optbench.suite.load import load
from optbench.suite.schema import json_schema
from optbench.suite.yaml_source import parse, read

SUITE = """\
title: 2024
workload:
  model: small_cnn
  data: {name: digits, anything: 1}
  batch_size: 64
  budget: 30 epochs
  target: {metric: accuracy, at_least: 0.97}
  metrics: accuracy
schedule: {name: cosine, warmup: 5%, final: 0.1}
no_weight_decay: norms
seeds: [3, 1]
clip: null
horizons: [10 epochs, 20 epochs]
sensitivity:
  lr: [0.1, 1, 10]
  momentum: {values: [0, 0.9]}
  eps: {log: [1e-9, 1e-3], points: 7}
published:
  - source: A table
    optimizer: A
    scope: {model: small_cnn, budget: 30 epochs}
    values:
      final_metric: {kind: numeric, value: 0.9, unit: fraction, margin: 0.01}
      memory_overhead: {kind: ladder, level: low, means: {at_most: 1.5}}
  - {source: {text: A, url: b}, label: L, values: {sensitivity: {kind: ordering, over: A}}}
optimizers:
  A: adam
  B: {use: x.Y, lr: 1, clip: {norm: 1}, schedule: constant, no_weight_decay: norms, arguments: {clip: 2}}
  C: {use: [{parameters: matrices, use: muon, lr: 1}], horizon: {steps: 3}}
"""


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_short_forms_are_valid(validator: Draft202012Validator, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SUITE)
    assert list(validator.iter_errors(read(path).data)) == []
    assert list(validator.iter_errors(dump(load(path).suite))) == []


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_suite_is_valid(validator: Draft202012Validator, name: str) -> None:
    assert list(validator.iter_errors(read(shipped()[name]).data)) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("title:", "titel:"),
        ("batch_size: 64", "bach_size: 64"),
        ("batch_size: 64", "batch_size: many"),
        ("30 epochs", "30"),
        ("30 epochs", "{epochs: 1, steps: 2}"),
        ("30 epochs", "30 parsecs"),
        ("5%", "[5]"),
        ("at_least: 0.97", "at_lest: 0.97"),
        ("at_least: 0.97", "at_least: 0.97, at_most: 1"),
        ("data: {name: digits, anything: 1}", "data: {anything: 1}"),
        ("[3, 1]", "0"),
        ("[3, 1]", "[1, 1]"),
        ("no_weight_decay: norms\nseeds", "no_weight_decay: norm\nseeds"),
        ("{norm: 1}", "{norm: 1, value: 1}"),
        ("B: {use: x.Y, ", "B: {"),
        ("horizon: {steps: 3}", "lr: 3"),
        ("workload:", "workloads:"),
        ("horizons: [10 epochs, 20 epochs]", "horizons: 10 epochs"),
        ("lr: [0.1, 1, 10]", "lr: 0.1"),
        ("{values: [0, 0.9]}", "{values: [0, 0.9], factors: [1, 2]}"),
        (", points: 7", ""),
        ("kind: numeric", "kind: number"),
        ("unit: fraction", "unit: share"),
        ("level: low", "level: lowest"),
        ("means: {at_most: 1.5}", "means: {at_most: 1.5, at_least: 1}"),
        ("source: A table", "sauce: A table"),
        ("memory_overhead:", "memory:"),
    ],
)
def test_typical_mistakes_are_refused_by_schema_and_loader(
    validator: Draft202012Validator, tmp_path: Path, right: str, wrong: str
) -> None:
    from optbench.errors import OptbenchError

    assert right in SUITE
    text = SUITE.replace(right, wrong, 1)
    assert list(validator.iter_errors(parse(text, "s").data))
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(OptbenchError):
        load(path)


def test_every_key_is_described() -> None:
    schema = json_schema()
    for shape in (schema, *schema["$defs"].values()):
        for name, field in shape.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, name
