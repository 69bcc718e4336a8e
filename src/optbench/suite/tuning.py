"""How the entries with search spaces are tuned (`tuning:`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from optbench.suite.amounts import Duration, Strict, Whole

#: minimum of the seeds of tuning trials; the seeds of a suite with tuning are below it
TUNING_SEED = 2**31
MAX_STUDIES = 100

Sampler = Literal["quasi_random", "random", "grid", "tpe", "gp"]


class Tuning(Strict):
    """How the entries that have search spaces are tuned: the same number of trials and the same budget for each."""

    trials: Whole | None = Field(default=None, ge=2, le=10_000)
    """Number of tuning trials per optimizer, workload and study. More trials continue a study: the first ones are the same. With
    `grid`, the default is the whole grid; a smaller number is a random part of it."""
    studies: Whole = Field(default=1, ge=1, le=MAX_STUDIES)
    """Number of repeated studies, each with its own points and its own selected settings. The seeds of the suite are distributed over
    the studies in turn, so that intervals include the variation of tuning."""
    sampler: Sampler = "quasi_random"
    """How points are chosen: `quasi_random` (scrambled Halton sequence), `random`, or `grid` (all combinations of discrete spaces),
    which ignore results; `tpe` or `gp` (Optuna's tree-structured Parzen estimator or Gaussian process), which use the results of earlier
    trials. Entries with equal spaces have the same points, with `tpe` and `gp` as long as their results are equal."""
    budget: Duration | None = None
    """Training length of a tuning trial. Default: the budget of the workload."""
    metric: str | None = Field(default=None, min_length=1)
    """Metric by which the best trial is selected, on the validation split at the end of training. Default: the first metric."""
    seed: Whole = Field(default=0, ge=0, lt=2**32)
    """Seed of the points."""

    @model_validator(mode="after")
    def _fixed_length(self) -> Tuning:
        if self.budget is not None and self.budget.unit == "seconds":
            raise ValueError(
                "budget: expected epochs or steps; found seconds: a busy machine would change the selection"
            )
        if self.trials is None and self.sampler != "grid":
            raise ValueError(
                f"expected the number of 'trials', as in {{trials: 20, sampler: {self.sampler}}}"
            )
        return self

    @property
    def is_adaptive(self) -> bool:
        """Whether points depend on the results of earlier trials."""
        return self.sampler in ("tpe", "gp")


def trial_seed(study: int, repeat: int) -> int:
    """Return the training seed of a tuning trial, from `TUNING_SEED` on. `repeat`: how often its study had this point before."""
    return TUNING_SEED + repeat * MAX_STUDIES + study
