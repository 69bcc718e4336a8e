"""Evaluation of the metrics on a split, without gradients and outside the training clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice

import torch

from optbench.engine.averaging import recalibrated
from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.randomness import derive
from optbench.engine.session import Session, SplitName, seed_everything
from optbench.engine.tasks import Sums
from optbench.errors import OptbenchError
from optbench.events import POSITION, Metrics

_PASSES = 50  # training batches for recomputing batch-norm statistics


@contextmanager
def evaluation_mode(session: Session) -> Iterator[None]:
    """Set the model to eval mode, with the weights to be evaluated; restore training weights and modes afterwards."""
    model, optimizers = session.model, session.optimizers
    with ExitStack() as stack:
        optimizers.eval()
        stack.callback(optimizers.train)
        model.eval()
        stack.callback(model.train)
        if session.average is not None:
            stack.enter_context(session.average.applied())
        if optimizers.has_modes:
            stack.enter_context(recalibrated(model, lambda: _forward_training_batches(session)))
        yield


def measure(
    session: Session, split: SplitName, after_batch: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return the workload's metrics and its loss, as means over the split. Call it inside `evaluation_mode`.

    `after_batch` is called after each batch; an exception in it ends the evaluation. Raises `OptbenchError` for a metric outside
    of its declared range, and for a split without a unit that counts.
    """
    sums = Sums(session.metrics, session.device, session.splits.info)
    # not in inference mode: a task may need derivatives
    with _same_random_numbers(session, split), torch.no_grad():
        for batch in session.batches(split):
            with session.precision.autocast(session.device):
                session.task.evaluate(session.forward, session.current(batch), sums)
            after_batch()
    if not float(sums.units) > 0:
        raise OptbenchError(
            f"the {split} split: expected a number of units above 0, over which metrics are means (samples, or targets that are not "
            f"masked); found {float(sums.units):g}"
        )
    values = sums.values()
    check_ranges(session, split, values)
    return values


@contextmanager
def _same_random_numbers(session: Session, split: SplitName) -> Iterator[None]:
    """Seed the generators by the trial's seed and the split, so that every evaluation draws the same numbers; restore them afterwards."""
    before = random_state(session.device)
    seed_everything(derive(session.trial.seed, "evaluation", split))
    try:
        yield
    finally:
        restore_random_state(before, session.device)


def position_of(session: Session) -> Metrics:
    """Return the variables of a test function, with the key `position` instead of a split; empty for other tasks."""
    position = getattr(getattr(session.task, "module", None), "position", None)
    variables = position(session.model) if position is not None else {}
    return {POSITION: dict(variables)} if variables else {}


def check_ranges(session: Session, split: SplitName, values: dict[str, float]) -> None:
    """Raise `OptbenchError` for a metric outside of its declared range, unless the loss shows that the model diverged."""
    if math.isfinite(values["loss"]):
        for name, metric in session.metrics.items():
            metric.check_range(values[name], split)


def _forward_training_batches(session: Session) -> None:
    for batch in islice(session.batches("train"), _PASSES):
        with session.precision.autocast(session.device):
            session.task.loss(session.model, batch)
