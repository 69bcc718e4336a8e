"""Calibration of tuning, on simulated objectives with a known optimum: selection, expected best, intervals and A/A comparisons.

Nothing is trained: the score of a trial is a function of its point in the unit cube plus noise. Bands are exact binomial at 99.9 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from optbench.analysis.intervals import paired_difference, t_interval
from optbench.analysis.order_statistics import expected_best, expected_best_interval, variance_of_best
from optbench.analysis.table import comparison
from optbench.analysis.tuning import winners
from optbench.events import Event
from optbench.store import read
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial
from results_builder import curve, write_trials

Array = npt.NDArray[np.float64]

ALPHA = 0.05
TRIALS = 20
QUICK = 300
FULL = 2000
REFERENCE = 20_000  # studies that determine the truth


@dataclass(frozen=True)
class Objective:
    """Score by point of the unit cube, the higher the better, with normal noise."""

    value: Callable[[Array], Array]
    noise: float

    def studies(self, count: int, trials: int, seed: int) -> tuple[Array, Array]:
        """Return true and noisy scores of `count` studies, (count, trials)."""
        random = np.random.default_rng(seed)
        true = self.value(random.random((count, trials, 2)))
        return true, true + self.noise * random.standard_normal(true.shape)

    def selected(self, count: int, trials: int, seed: int) -> tuple[Array, Array]:
        """Return true scores of the selected settings, (count,), and the scores of all trials in order, worst first."""
        true, scores = self.studies(count, trials, seed)
        return true[np.arange(count), scores.argmax(axis=1)], np.sort(scores, axis=1)

    def fresh(self, true: Array, seeds: int, seed: int) -> Array:
        """Return scores of settings on fresh seeds, (count, seeds)."""
        random = np.random.default_rng(seed)
        return true[:, None] + self.noise * random.standard_normal((len(true), seeds))


OBJECTIVES = {
    "one rate": Objective(lambda u: -((4 * (u[..., 0] - 0.6)) ** 2), 0.05),
    "two rates": Objective(lambda u: -((4 * (u[..., 0] - 0.6)) ** 2) - (2 * (u[..., 1] - 0.4)) ** 2, 0.2),
    "cliff": Objective(lambda u: np.where(u[..., 0] > 0.8, -3.0, -12 * (u[..., 0] - 0.8) ** 2), 0.02),
    "several optima": Objective(lambda u: 0.3 * np.sin(40 * u[..., 0]) - (2 * (u[..., 0] - 0.5)) ** 2, 0.1),
    "noise only": Objective(lambda u: 0 * u[..., 0], 1.0),
}

quick_and_full = pytest.mark.parametrize(
    "studies", [QUICK, pytest.param(FULL, marks=pytest.mark.slow)], ids=["quick", "full"]
)
#: quick with 5 seeds only
seeds_and_studies = pytest.mark.parametrize(
    ("seeds", "studies"), [(5, QUICK), *(pytest.param(n, FULL, marks=pytest.mark.slow) for n in (3, 5, 20))]
)
each_objective = pytest.mark.parametrize("name", OBJECTIVES)


def lowest(rate: float, studies: int) -> float:
    return float(binom.ppf(0.0005, studies, rate)) / studies


def highest(rate: float, studies: int) -> float:
    return float(binom.ppf(0.9995, studies, rate)) / studies


# --- selection


@each_objective
def test_more_trials_select_better_settings_and_never_beat_the_optimum(name: str) -> None:
    objective = OBJECTIVES[name]
    grid = np.linspace(0, 1, 1001)
    optimum = objective.value(np.stack(np.meshgrid(grid, grid), axis=-1)).max()
    means = [objective.selected(FULL, trials, seed=trials)[0].mean() for trials in (2, 5, 20, 50)]
    assert all(mean <= optimum + 1e-9 for mean in means)
    if name != "noise only":
        assert means == sorted(means)
        assert optimum - means[-1] < 0.25 * (optimum - means[0])


# --- expected best


def test_the_variance_of_the_best_is_the_mean_over_all_pairs_of_disjoint_subsets() -> None:
    from itertools import combinations

    values = np.array([0.3, 0.1, 0.7, 0.4, 0.9, 0.8])  # in the order of selection, not of the values
    for k in (1, 2, 3):
        squares = [
            (values[max(a)] - values[max(b)]) ** 2
            for a in combinations(range(6), k)
            for b in combinations(range(6), k)
            if not set(a) & set(b)
        ]
        assert variance_of_best(values, k) == pytest.approx(np.mean(squares) / 2)
    assert variance_of_best(values, 1) == pytest.approx(values.var(ddof=1))
    with pytest.raises(ValueError, match="expected k from 1 to 3, half of the trials; found 4"):
        variance_of_best(values, 4)


def test_the_variance_of_the_best_of_thousands_of_trials_is_finite_and_right() -> None:
    scores = np.sort(np.random.default_rng(0).random(10_000))
    assert variance_of_best(scores, 2) == pytest.approx(
        1 / 18, rel=0.05
    )  # of the maximum of two uniform numbers
    assert 0 < variance_of_best(scores, 5000) < 1e-6


@each_objective
def test_expected_best_and_its_variance_are_unbiased(name: str) -> None:
    objective = OBJECTIVES[name]
    _, scores = objective.studies(QUICK, TRIALS, seed=1)
    _, reference = objective.studies(REFERENCE, TRIALS // 2, seed=2)
    for k in (1, 3, TRIALS // 2):
        best = reference[:, :k].max(axis=1)
        means = [expected_best(row, k) for row in scores]
        assert abs(np.mean(means) - best.mean()) < 4 * (
            np.std(means) / QUICK**0.5 + best.std() / REFERENCE**0.5
        )
        variances = [variance_of_best(np.sort(row), k) for row in scores]
        allowed = np.std(variances) / QUICK**0.5 + ((best - best.mean()) ** 2).std() / REFERENCE**0.5
        assert abs(np.mean(variances) - best.var()) < 4 * allowed


@quick_and_full
@each_objective
def test_intervals_of_the_expected_best_cover_it_at_every_number_of_trials(name: str, studies: int) -> None:
    """Scores of one trial are skewed, so that the t interval of their mean covers a little less: 92 %."""
    objective = OBJECTIVES[name]
    _, scores = objective.studies(studies, TRIALS, seed=3)
    _, reference = objective.studies(REFERENCE, TRIALS, seed=4)
    for k in (1, 2, 5, 10, 15, TRIALS):
        truth = reference[:, :k].max(axis=1).mean()
        intervals = [expected_best_interval(row, k) for row in scores]
        covered = np.mean([low <= truth <= high for low, high in intervals])
        assert covered >= lowest(0.95 if k > 1 else 0.92, studies), k


# --- intervals and comparisons of tuned entries


@seeds_and_studies
@each_objective
def test_intervals_with_one_study_cover_the_expected_outcome_of_tuning(
    name: str, seeds: int, studies: int
) -> None:
    objective = OBJECTIVES[name]
    truth = objective.selected(REFERENCE, TRIALS, seed=5)[0].mean()
    true, scores = objective.selected(studies, TRIALS, seed=6)
    fresh = objective.fresh(true, seeds, seed=7)
    covered = []
    for row, values in zip(fresh, scores, strict=True):
        found = t_interval(row.tolist(), shared_variance=variance_of_best(values, TRIALS // 2))
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= lowest(0.95, studies)


@seeds_and_studies
@each_objective
def test_a_a_comparisons_with_one_study_are_significant_at_most_at_the_nominal_rate(
    name: str, seeds: int, studies: int
) -> None:
    objective = OBJECTIVES[name]
    sides = []
    for seed in (8, 9):
        true, scores = objective.selected(studies, TRIALS, seed)
        variances = [variance_of_best(values, TRIALS // 2) for values in scores]
        sides.append((objective.fresh(true, seeds, seed + 10), variances))
    (a, of_a), (b, of_b) = sides
    p = [
        paired_difference(x, y, shared_variance=v + w).p
        for x, y, v, w in zip(a.tolist(), b.tolist(), of_a, of_b, strict=True)
    ]
    assert np.mean(np.array(p) < ALPHA) <= highest(ALPHA, studies)


def test_without_the_variance_of_tuning_such_comparisons_are_wrong_far_more_often() -> None:
    """Seeds of one study share its settings: the usual test of seeds sees two different settings, not two equal optimizers."""
    objective = OBJECTIVES["several optima"]
    a, b = (
        objective.fresh(objective.selected(QUICK, TRIALS, seed)[0], 5, seed + 10).tolist() for seed in (8, 9)
    )
    assert np.mean([paired_difference(x, y).p < ALPHA for x, y in zip(a, b, strict=True)]) > 0.15


@pytest.mark.parametrize(
    ("repeated", "seeds", "studies"),
    [
        (5, 10, QUICK),
        *(pytest.param(*both, FULL, marks=pytest.mark.slow) for both in ((5, 5), (5, 10), (3, 9))),
    ],
)
@each_objective
def test_repeated_studies_give_exact_tests_and_intervals(
    name: str, repeated: int, seeds: int, studies: int
) -> None:
    """Values are means over the seeds of each study. t intervals cover the truth where outcomes of studies are nearly normal; with
    points drawn at random, outcomes on the cliff are skewed, and intervals of 5 studies cover the truth in 77 %."""
    objective = OBJECTIVES[name]
    truth = objective.selected(REFERENCE, TRIALS, seed=5)[0].mean()
    a, b = (
        objective.fresh(objective.selected(studies * repeated, TRIALS, seed)[0], seeds // repeated, seed + 10)
        .mean(axis=1)
        .reshape(studies, repeated)
        .tolist()
        for seed in (12, 13)
    )
    wrong = np.mean([paired_difference(x, y).p < ALPHA for x, y in zip(a, b, strict=True)])
    assert wrong <= highest(ALPHA, studies)
    if name in ("noise only", "two rates"):
        intervals = [t_interval(x) for x in a]
        assert np.mean([found.low <= truth <= found.high for found in intervals]) >= lowest(0.95, studies)


# --- whole results


SUITE = """\
workload: {{model: {{name: mlp, hidden: [8]}}, data: digits, batch_size: 64, budget: 2 epochs, target: {{at_least: 0.5}}}}
tuning: {{trials: 10, studies: {studies}, seed: {seed}}}
seeds: {seeds}
optimizers:
  A: {{use: sgd, lr: {{log: [1e-3, 1]}}}}
  B: {{use: sgd, lr: {{log: [1e-3, 1]}}}}
"""


def _events(trial: Trial, random: np.random.Generator) -> list[Event]:
    """Return a trial of an objective with several optima; seeds and optimizers differ in their noise only."""
    rate = trial.point.get("lr") or trial.entry.rules[0].arguments["lr"]
    unit = np.log10(rate) / 3 + 1
    return curve(
        [
            0.1,
            0.6 + 0.15 * np.sin(40 * unit) - 0.3 * (2 * (unit - 0.5)) ** 2 + 0.05 * random.standard_normal(),
        ]
    )


@pytest.mark.parametrize(
    ("studies", "seeds", "count"),
    [
        (2, 6, 12),
        *(pytest.param(studies, 6, 300, marks=pytest.mark.slow) for studies in (1, 2, 6)),
    ],
)
def test_an_optimizer_entered_twice_is_tuned_to_no_significant_difference(
    studies: int, seeds: int, count: int, tmp_path: Path
) -> None:
    random, wrong, slower = np.random.default_rng(1), 0, 0
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "s.yaml").write_text(SUITE.format(studies=studies, seeds=seeds, seed=number))
        loaded = load(folder / "s.yaml")
        events: dict[str, list[Event]] = {}
        for found in (False, True):
            trials = plan(loaded, winners=winners(read([folder / "r"])) if found else {})
            events |= {t.id: _events(t, random) for t in trials if t.id not in events}
            write_trials(
                folder / "r",
                loaded.suite,
                trials,
                events if not found else {t.id: events[t.id] for t in trials},
                name="s",
            )
        table = comparison(read([folder / "r"]))
        wrong += bool(table["best_group"].eq(False).fillna(False).any())
        slower += bool(table["fastest_group"].eq(False).fillna(False).any())
        shows = table["final_metric_low"].notna().all() and table["final_metric_high"].notna().all()
        assert shows
    assert wrong / count <= highest(ALPHA, count)
    assert slower / count <= highest(ALPHA, count)
