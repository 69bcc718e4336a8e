"""Curves over training: medians and bands over seeds, and what happens to seeds that end early."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from optbench.analysis.curves import curves_frame
from optbench.analysis.entries import entry_names
from optbench.events import Resumed
from optbench.store import read
from results_builder import a_suite, curve, diverged, evaluated, failed, finished, started, write


def frame(tmp_path: Path, events, **of_suite) -> pd.DataFrame:
    labels = tuple(dict.fromkeys(label for label, _ in events))
    seeds = 1 + max(seed for _, seed in events)
    write(tmp_path, a_suite(labels=labels, seeds=seeds, **of_suite), events)
    return curves_frame(read([tmp_path]))


def series(frame: pd.DataFrame, metric: str = "accuracy", split: str = "validation") -> pd.DataFrame:
    return frame[(frame["metric"] == metric) & (frame["split"] == split)].reset_index(drop=True)


def test_a_curve_is_the_median_over_seeds_with_their_range(tmp_path):
    events = {("SGD", seed): curve([0.1 * (seed + 1), 0.2 * (seed + 1)]) for seed in range(3)}
    found = series(frame(tmp_path, events))
    assert found["step"].tolist() == [10, 20]
    assert found["epoch"].tolist() == [1, 2]
    assert found["train_seconds"].tolist() == [0.5, 1.0]
    assert found["median"].tolist() == pytest.approx([0.2, 0.4])
    assert found["low"].tolist() == pytest.approx([0.1, 0.2])
    assert found["high"].tolist() == pytest.approx([0.3, 0.6])
    assert set(found["band"]) == {"range"}
    assert found[["n", "seeds", "lost"]].to_numpy().tolist() == [[3, 3, 0]] * 2


def test_from_ten_seeds_on_the_band_is_of_quantiles(tmp_path):
    found = series(frame(tmp_path, {("SGD", seed): curve([seed / 10]) for seed in range(11)}))
    assert found["band"].tolist() == ["10-90 %"]
    assert found[["low", "median", "high"]].iloc[0].tolist() == pytest.approx([0.1, 0.5, 0.9])


def test_one_seed_has_no_band(tmp_path):
    found = series(frame(tmp_path, {("SGD", 0): curve([0.5])}))
    assert found["band"].tolist() == [""]
    assert found[["low", "high"]].isna().all(axis=None)


def test_a_seed_that_diverged_leaves_the_curve_and_is_counted(tmp_path):
    found = frame(tmp_path, {("SGD", 0): curve([0.5] * 4), ("SGD", 1): diverged(2)})
    accuracy = series(found)
    assert accuracy["n"].tolist() == [2, 2, 1, 1]
    assert accuracy["lost"].tolist() == [0, 0, 1, 1]
    assert accuracy["median"].tolist() == pytest.approx([0.3, 0.3, 0.5, 0.5])
    loss = series(found, "train_loss", "train")  # of the diverged one it is never finite
    assert loss["n"].tolist() == [1] * 4


def test_an_unfinished_seed_is_missing_not_lost(tmp_path):
    found = series(
        frame(tmp_path, {("SGD", 0): curve([0.5] * 3), ("SGD", 1): [started(), evaluated(1, 0.4)]})
    )
    assert found["n"].tolist() == [2, 1, 1]
    assert found["lost"].tolist() == [0, 0, 0]


def test_every_series_is_reported_once_and_empty_ones_are_left_out(tmp_path):
    events = [started(), evaluated(1, 0.5, gradient_norm=2.0), finished(epochs=1)]
    found = frame(tmp_path, {("SGD", 0): events})
    assert set(zip(found["metric"], found["split"], strict=True)) == {
        ("accuracy", "validation"),
        ("loss", "validation"),
        ("train_loss", "train"),
        ("learning_rate", ""),
        ("gradient_norm", ""),
    }


def test_seconds_of_a_clock_carried_over_a_restart_are_left_out(tmp_path):
    whole = curve([0.5, 0.6])
    carried = [*whole[:2], Resumed(step=10), *(replace(e, train_seconds=99.0) for e in whole[2:])]
    found = series(frame(tmp_path, {("SGD", 0): whole, ("SGD", 1): carried}))
    assert found["train_seconds"].tolist() == [0.5, 1.0]
    assert found["n"].tolist() == [2, 2]
    alone = series(frame(tmp_path / "alone", {("SGD", 0): carried}))
    assert alone["train_seconds"].isna().all()


def test_different_evaluation_steps_are_met_by_interpolation_within_each_seed(tmp_path):
    def at(steps, slope):
        rows = [replace(evaluated(1, slope * step), step=step, epoch=step / 10) for step in steps]
        return [started(), *rows, finished()]

    found = series(frame(tmp_path, {("SGD", 0): at([10, 20, 30], 0.01), ("SGD", 1): at([5, 15, 25], 0.03)}))
    assert len(found) == 3
    inside = found[found["n"] == 2]
    assert len(inside)
    assert inside["median"].tolist() == pytest.approx((0.02 * inside["step"]).tolist())
    assert inside["epoch"].tolist() == pytest.approx((inside["step"] / 10).tolist())


def test_nothing_run_gives_empty_frames_with_the_columns(tmp_path):
    write(tmp_path, a_suite(seeds=1), {("SGD", 0): failed()})
    results = read([tmp_path])
    assert curves_frame(results).empty
    assert {"median", "low", "high", "n"} <= set(curves_frame(results))


def test_quantiles_are_numpys(tmp_path):
    from optbench.analysis.curves import _quantiles

    values = np.random.default_rng(0).normal(size=(7, 50))
    values[values > 1] = math.nan
    values[0, 0] = 0.0
    expected = np.nanquantile(values, (0.1, 0.5, 0.9), axis=0)
    np.testing.assert_allclose(_quantiles(values, (0.1, 0.5, 0.9)), expected)


def test_entries_are_named_after_their_labels_and_horizons_where_a_label_has_several(tmp_path):
    write(tmp_path, a_suite(labels=["SGD", "Adam"], seeds=1), {("SGD", 0): curve([0.5])})
    assert list(entry_names(read([tmp_path]).suites[0]).values()) == ["SGD", "Adam"]
