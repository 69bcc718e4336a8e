"""Every short way through many trials gives what the long way gives, bit for bit where the report shows it."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import statistics
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optbench.analysis import censoring
from optbench.analysis.frames import first_holding, plain_rows
from optbench.analysis.intervals import t_interval
from optbench.catalog.lookup import resolve
from optbench.catalog.signatures import signature
from optbench.events import Evaluated
from optbench.store.evaluations import Evaluations
from optbench.store.log import TrialLog
from optbench.store.records import Corrupt, from_json
from optbench.suite import types
from optbench.suite.find import shipped
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Target
from optbench.suite.yaml_source import read
from results_builder import evaluated


def passages(seed: int, n: int, tau: float, *, early: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Times on a grid, censored at `tau`, with `early` before it too."""
    draw = np.random.default_rng(seed)
    times = np.minimum(np.round(draw.exponential(0.6 * tau, n)) + 1, tau)
    reached = times < tau
    return times, reached & (draw.random(n) > 0.3) if early else reached


@pytest.mark.parametrize("early", [False, True])
def test_the_survival_curve_is_what_counting_at_every_moment_gives(early):
    for seed in range(20):
        times, reached = passages(seed, 1 + seed, 30.0, early=early)
        curve = censoring.kaplan_meier(times.tolist(), reached.tolist())
        assert curve["at_risk"].tolist() == [int((times >= moment).sum()) for moment in curve["time"]]
        assert curve["events"].tolist() == [
            int((reached & (times == moment)).sum()) for moment in curve["time"]
        ]


def test_without_early_censoring_exchanged_areas_are_exchanged_means():
    for seed in range(10):
        times, reached = passages(seed, 24, 30.0)
        sides = censoring._exchanges(24, 10)
        areas = censoring._differences(times, reached, sides, 30.0)
        assert censoring._mean_differences(times, reached, sides, 30.0) == pytest.approx(areas, abs=1e-12)


@pytest.mark.parametrize("early", [False, True])
def test_restricted_differences_have_the_p_of_areas_under_every_exchanged_curve(early):
    for seed in range(10):
        (a, there_a), (b, there_b) = (
            passages(seed, 12, 30.0, early=early),
            passages(99 + seed, 9, 30.0, early=early),
        )
        found = censoring.restricted_difference(
            a.tolist(), there_a.tolist(), b.tolist(), there_b.tolist(), 30.0
        )
        times, there = np.concatenate([a, b]), np.concatenate([there_a, there_b])
        areas = censoring._differences(times, there, censoring._exchanges(21, 12), 30.0)
        assert found.mean == areas[0]
        assert found.p == (np.abs(areas) >= abs(areas[0]) - 1e-9 * 30.0).mean()


def test_exchanges_are_those_of_sorting_random_numbers():
    n, size = 40, 15
    drawn = np.argsort(np.random.default_rng(0).random((9_999, n)), axis=1)[:, :size]
    sides = censoring._exchanges(n, size)
    assert (np.sort(drawn, axis=1) == np.argwhere(sides[1:] == 1)[:, 1].reshape(-1, size)).all()
    assert sides[0].tolist() == [1.0] * size + [0.0] * (n - size)


def test_means_and_spreads_are_those_of_exact_fractions():
    draw = random.Random(0)
    samples = [[draw.gauss(0, 1) for _ in range(n)] for n in range(2, 30)]
    samples += [[draw.random() * 10.0 ** draw.randint(-150, 150) for _ in range(8)] for _ in range(200)]
    samples += [[0.1] * 7, [0.0, 0.0, 1.0], [1e-320, 3e-320], [-5.0, 5.0]]
    for values in samples:
        found = t_interval(values)
        assert (found.mean, found.std) == (statistics.mean(values), statistics.stdev(values)), values


def test_rows_of_a_frame_are_those_of_pandas():
    frame = pd.DataFrame(
        {
            "text": ["a", None, "c"],
            "number": [1.5, math.nan, -0.0],
            "whole": [1, 2, 3],
            "mixed": [np.float64(1.5), "b", np.int64(3)],
            "group": pd.array([True, None, False], dtype="boolean"),
        }
    )
    ours, theirs = (
        [{key: None if value is pd.NA else value for key, value in row.items()} for row in rows]
        for rows in (plain_rows(frame), frame.to_dict("records"))
    )
    assert repr(ours) == repr(theirs)
    assert [list(map(type, row.values())) for row in ours] == [
        list(map(type, row.values())) for row in theirs
    ]
    assert plain_rows(frame[:0]) == []


def test_copies_are_found_without_making_events():
    def told(**changes):
        known = [evaluated(1, math.nan, train_loss=math.inf), evaluated(2, 0.5, gradient_norm=0.1, **changes)]
        return Evaluations.of(known)

    assert told().is_copy_of(told())
    assert told() != told()  # NaN is not NaN, so that == can't tell
    other = {"validation": {"accuracy": 0.5}}
    for changes in ({"train_loss": 0.5000001}, {"skipped_steps": 1}, {"step": 21}, {"metrics": other}):
        assert told(**changes).is_copy_of(told()) is False
    assert not told().is_copy_of(Evaluations.of([evaluated(1, math.nan, train_loss=math.inf)]))


@pytest.mark.parametrize("bound", ["at_least", "at_most"])
def test_the_first_evaluation_at_which_a_target_holds_is_the_first_that_reports_it(bound):
    draw = random.Random(1)
    target = Target.model_validate({"metric": "accuracy", bound: 0.5})
    for length in range(8):
        values = [draw.choice([0.1, 0.5, 0.9, math.nan, math.inf]) for _ in range(length)]
        events = [
            Evaluated(step + 1, 1.0, 1, 1.0, 1.0, 1.0, 1.0, 0.1, {"validation": {"accuracy": value}})
            for step, value in enumerate(values)
        ]
        log = TrialLog("", "", {}, 0, "", Path(), "", evaluations=Evaluations.of(events))
        first = next((index for index, value in enumerate(values) if target.holds(value)), None)
        assert first_holding(log, target) == first


def test_json_is_read_as_the_standard_library_reads_it():
    draw = random.Random(2)
    numbers = [struct.unpack("d", draw.randbytes(8))[0] for _ in range(5000)]
    texts = [repr(number) for number in numbers if math.isfinite(number)]
    texts += [
        "-0",
        "-0.0",
        "1e400",
        "123456789012345678901234567890",
        "NaN",
        "-Infinity",
        '"\\n"',
    ]
    texts += ['{"a": 1, "a": 2}', ' [1, {"b": null}, true] ', '"é"']
    for text in texts:
        assert repr(from_json(text.encode())) == repr(json.loads(text)), text
    assert from_json(b'{"\\ud800": ["a\\udfff", "\\ud83d\\ude00"]}') == {"\ufffd": ["a\ufffd", "\U0001f600"]}
    for text in (b"01", b"[1,]", b"", b'{"a"', b"\xff", b'"\x01"', b"[" * 100_000):
        with pytest.raises(Corrupt):
            from_json(text)


def test_a_list_of_suites_shows_the_titles_that_are_loaded():
    for path in shipped().values():
        assert read(path).data.get("title", "") == load(path).suite.title


def test_a_trial_of_another_seed_is_a_validated_copy_with_the_rows_hash(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "workload: {model: mlp, data: digits, batch_size: 64, budget: 1 epochs}\n"
        "optimizers: {Ä: {use: sgd, lr: 0.1}}\nseeds: [3]\n"
    )
    [first] = plan(load(path))
    assert first.id == types._digest({"config": first.config_id, "seed": 3})
    made = first.with_seed(7)
    slow = first.model_copy(update={"seed": 7})
    assert made == slow
    assert made.model_fields_set == slow.model_fields_set
    assert made.model_dump() == slow.model_dump()
    assert (made.config_id, made.id) == (slow.config_id, slow.id)
    assert made.id != first.id
    assert pickle.loads(pickle.dumps(made)) == made
    assert made.model_copy(update={"label": "B"}).id != made.id


def test_a_signature_is_read_again_when_its_file_has_changed(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("class Mine:\n    def __init__(self, params, lr=1): pass\n")
    target = resolve("optimizers", "mine.py:Mine", tmp_path)
    assert signature(target).names == ("params", "lr")
    file.write_text("class Mine:\n    def __init__(self, params, momentum=1): pass\n")
    os.utime(file, ns=(1, 1))
    assert signature(target).names == ("params", "momentum")
