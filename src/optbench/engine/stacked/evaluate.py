"""Metrics of a split for each model of a stack; `engine.evaluate` computes them for one model."""

from __future__ import annotations

import torch
from torch import Tensor

from optbench.engine.evaluate import check_ranges
from optbench.engine.session import SplitName
from optbench.engine.stacked.stack import Stack


def measure(stack: Stack, split: SplitName) -> list[dict[str, float]]:
    """Return the loss and all metrics of the workload over the split, one dict per trial. No metric has an accumulator."""
    session, rows = stack.session, range(len(stack.members))
    forward, losses = stack.evaluating
    sums = {name: torch.zeros(len(rows), device=stack.device) for name in session.metrics}
    samples = 0
    with torch.inference_mode():
        for batch in session.batches(split):
            inputs, targets = batch.inputs, batch.targets
            assert isinstance(inputs, Tensor)
            assert isinstance(targets, Tensor)
            with session.precision.autocast(stack.device):
                outputs = forward(stack.parameters, inputs)
                loss = losses(outputs, targets)
            outputs, loss = outputs.float(), loss.float()
            for name, metric in session.metrics.items():
                for row in rows:
                    assert metric.total is not None
                    sums[name][row] += metric.total(outputs[row], targets, loss[row])
            samples += len(targets)
    values = {
        name: [session.metrics[name].of_mean(mean) for mean in (total / samples).tolist()]
        for name, total in sums.items()
    }
    by_row = [{name: of_all[row] for name, of_all in values.items()} for row in rows]
    for of_row in by_row:
        check_ranges(session, split, of_row)
    return by_row
