"""Cost of one training step without the optimizer: floating-point operations and bytes of activations, counted without running it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from optbench.engine.activations import checkpoint_activations
from optbench.engine.batch import Zeros
from optbench.engine.model_memory import backward, model_memory, without_data
from optbench.engine.precision import Precision
from optbench.engine.tasks import Task
from optbench.suite.types import Workload


@dataclass(frozen=True)
class StepCosts:
    """Cost of both passes over one batch; None where the model can't be traced without data."""

    flops: int | None = None
    activation_bytes: int | None = None


def step_costs(
    model: nn.Module, workload: Workload, task: Task, batch_size: int, *,
    precision: Precision, device: torch.device,
) -> StepCosts:  # fmt: skip
    """Return the cost of a step. FLOPs are those of matrix products and convolutions, counted by `torch.utils.flop_counter`.

    A multiplication and an addition count as two operations.
    """
    memory = model_memory(model, workload, task, batch_size, precision=precision, device=device)
    try:
        flops = _flops(model, workload, task, batch_size)
    except Exception:  # a user's model may raise anything; training will report a real error
        flops = None
    return StepCosts(flops, memory.activation_bytes)


def _flops(model: nn.Module, workload: Workload, task: Task, size: int) -> int:
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = without_data(model, channels_last=False)
        if workload.activation_checkpointing:
            checkpoint_activations(fake)  # recomputed operations count twice
        fake.train()
        batch = task.example(size, Zeros())
        with FlopCounterMode(display=False) as counter:
            backward(fake, task, batch, 1, Precision("fp32"))
    return int(counter.get_total_flops())
