"""Samplers: the points of a tuning study, as positions from 0 to 1 in each search space."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from optbench.errors import OptbenchError
from optbench.suite.spaces import (
    MAX_DIMENSIONS,
    MAX_POINTS,
    Space,
    grid,
    grid_size,
    point_at,
    tuned_arguments,
)
from optbench.suite.tuning import Sampler, Tuning

#: first trials of an adaptive sampler, which are those of `quasi_random`
FIRST_TRIALS = 10

Units = tuple[float, ...]
#: a trial of a study: its positions, and its score (the lower, the better; infinite for the worst outcome)
Scored = tuple[Units, float]


def trial_units(
    tuning: Tuning,
    arguments: Sequence[Mapping[str, Any]],
    study: int,
    number: int,
    scores: Sequence[tuple[Units, float | None]],
) -> Units | None:
    """Return the positions of trial `number` of a study, counted from 0; None if there is no such trial, or none yet.

    `arguments`: those of the rules of the entry. `scores`: the earlier trials; a score is None while a trial has not ended. The result
    depends on the arguments of this function only, so that a stopped study continues with the same points. Raises `OptbenchError` if a
    package is missing, and `ValueError` if the spaces have no grid.
    """
    if tuning.trials is not None and number >= tuning.trials:
        return None
    if tuning.sampler == "grid":
        points = _grid_points(json.dumps(tuned_arguments(arguments)), tuning.seed, study)
        return points[number] if number < len(points) else None
    if tuning.sampler == "quasi_random" or tuning.sampler == "random":
        assert tuning.trials is not None
        return unit_points(tuning.sampler, tuning.seed, tuning.trials, study)[number]
    if number < FIRST_TRIALS:
        return unit_points("quasi_random", tuning.seed, FIRST_TRIALS, study)[number]
    known = tuple((units, score) for units, score in scores if score is not None)
    if len(known) < number:
        return None
    written = json.dumps(tuned_arguments(arguments))
    return _adaptive(tuning.sampler, tuning.seed, study, written, known)


@lru_cache(maxsize=128)
def unit_points(sampler: Sampler, seed: int, count: int, study: int = 0) -> tuple[Units, ...]:
    """Return the first points of the unit cube, with `MAX_DIMENSIONS` coordinates: point i depends on seed, study and i only."""
    import numpy as np

    if sampler == "random":
        random = np.random.RandomState([seed, study] if study else seed)
        values = random.random_sample((count, MAX_DIMENSIONS))
    else:
        from scipy.stats.qmc import Halton

        halton = Halton(
            MAX_DIMENSIONS, scramble=True, rng=np.random.default_rng([seed, study] if study else seed)
        )
        values = halton.random(count)
    return tuple(map(tuple, values.tolist()))


def check_grid(arguments: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of points of an entry's grid. Raises `ValueError` for continuous spaces and for too many points."""
    size = 1
    for name, value in tuned_arguments(arguments).items():
        try:
            size *= grid_size(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if size > MAX_POINTS:
        raise ValueError(f"expected a grid of at most {MAX_POINTS:,} points; found {size:,}")
    return size


@lru_cache(maxsize=128)
def _grid_points(written: str, seed: int, study: int) -> tuple[Units, ...]:
    """Return the points of a grid in random order, so that the first k of them are a random part of it."""
    import numpy as np

    points = grid(json.loads(written))
    order = np.random.default_rng([seed, study]).permutation(len(points))
    return tuple(points[index] for index in order)


@lru_cache(maxsize=4096)
def _adaptive(sampler: Sampler, seed: int, study: int, written: str, known: tuple[Scored, ...]) -> Units:
    """Return the next point of a study that is rebuilt from its trials: Optuna stores nothing.

    The random state depends on the number of the trial, so that the point is the same in each process.
    """
    import numpy as np

    optuna = _optuna(sampler)
    arguments = [json.loads(written)]
    number = int(np.random.SeedSequence([seed, study, len(known)]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        chosen = (
            optuna.samplers.TPESampler(seed=number, n_startup_trials=1)
            if sampler == "tpe"
            else optuna.samplers.GPSampler(seed=number, n_startup_trials=1)
        )
        rebuilt = optuna.create_study(sampler=chosen)
        rebuilt.add_trials([_frozen_trial(optuna, arguments, units, score) for units, score in known])
        trial = rebuilt.ask()
        units = [0.5] * MAX_DIMENSIONS

        def suggest(index: int, space: Space) -> float:
            units[index] = _suggest(trial, str(index), space)
            return units[index]

        point_at(arguments, suggest)
    return tuple(units)


def _optuna(sampler: str) -> Any:
    try:
        import optuna
    except ImportError:
        message = f"the sampler '{sampler}' requires Optuna: pip install 'optbench[tune]'"
        raise OptbenchError(message) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _frozen_trial(optuna: Any, arguments: Sequence[Mapping[str, Any]], units: Units, score: float) -> Any:
    """Return a trial of the study as `optuna.trial.FrozenTrial`, with the spaces that its point uses."""
    distributions, parameters = {}, {}

    def note(index: int, space: Space) -> float:
        unit, name = units[index], str(index)
        distributions[name] = _distribution(optuna, space)
        parameters[name] = unit if space.count is None else space.index(unit)
        return unit

    point_at(arguments, note)
    return optuna.trial.create_trial(
        params=parameters, distributions=distributions, value=score if math.isfinite(score) else math.inf
    )


def _distribution(optuna: Any, space: Space) -> Any:
    """Return the positions of a space as a distribution of Optuna: from 0 to 1, or the numbers of its values."""
    if space.kind == "choice":
        return optuna.distributions.CategoricalDistribution(tuple(range(len(space.values))))
    if space.count is not None:
        return optuna.distributions.IntDistribution(0, space.count - 1)
    return optuna.distributions.FloatDistribution(0.0, 1.0)


def _suggest(trial: Any, name: str, space: Space) -> float:
    if space.count is None:
        return float(trial.suggest_float(name, 0.0, 1.0))
    if space.kind == "choice":
        index = int(trial.suggest_categorical(name, list(range(space.count))))
    else:
        index = int(trial.suggest_int(name, 0, space.count - 1))
    return (index + 0.5) / space.count
