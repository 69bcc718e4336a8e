"""What a memory forecast tells, in bytes. Imports nothing of ours; every room may use it."""

from __future__ import annotations

from dataclasses import dataclass

#: What the allocator of a GPU may really peak at, as multiples of the forecast, where no `--check` says it exactly. Assumed, not
#: measured: below 1, since a GPU's dropout keeps byte masks where the CPU's kernels, which are forecast, keep floats; above 1
#: for the workspaces of cuBLAS and cuDNN and for blocks rounded up to 512 bytes.
BAND = (0.95, 1.2)


@dataclass(frozen=True)
class ModelMemory:
    """A model and one batch of training on it, whatever the optimizer.

    The last three are None where the forward or backward pass could not be followed; `problem` says why.
    """

    parameters: int  # trainable ones, counted
    parameter_bytes: int  # of the trainable ones
    fixed_bytes: int  # frozen parameters and buffers
    batch_bytes: int  # inputs and labels
    gradient_bytes: int | None  # alive after the backward pass
    activation_bytes: int | None  # alive between the forward and the backward pass
    backward_peak_bytes: (
        int | None
    )  # most that is alive at once in both passes: activations, gradients, temporaries
    problem: str = ""


@dataclass(frozen=True)
class OptimizerMemory:
    """An optimizer on the model's parameters. Both sizes are None if it can't step on them; `problem` says why."""

    state_bytes: int | None  # distinct storages reachable from it, scalars and aliases of parameters left out
    step_peak_bytes: int | None  # what `step()` allocates for a moment beyond everything that stays
    implementation: str = ""  # forloop, foreach or fused; own where the class offers no choice
    closure: bool = False  # forward and backward pass happen inside `step()`
    note: str = ""
    at_least: bool = False  # `state_bytes` is a lower limit: the note says what could not be counted
    problem: str = ""


@dataclass(frozen=True)
class Forecast:
    """One row: a label, and the memory of training with its optimizer. `measured_bytes` is the real allocator's peak, if asked."""

    label: str
    batch_size: int
    precision: str
    model: ModelMemory
    optimizer: OptimizerMemory
    average_bytes: int = 0  # of the moving average of the weights
    measured_bytes: int | None = None

    @property
    def resident_bytes(self) -> int | None:
        """What stays from step to step: parameters, buffers, average, state, and the batch."""
        if self.optimizer.state_bytes is None:
            return None
        model = self.model
        kept = model.parameter_bytes + model.fixed_bytes + model.batch_bytes
        return kept + self.average_bytes + self.optimizer.state_bytes

    @property
    def total_bytes(self) -> int | None:
        """Forecast of the peak of a training step.

        = parameters + frozen parameters and buffers + batch + moving average + optimizer state
          + the larger of (peak of forward and backward pass, activations and gradients included)
                      and (gradients + peak of `step()`).
        With a closure both passes happen inside `step()`, and the sum of the two peaks is an upper bound. None where a part
        is unknown.
        """
        model, step = self.model, self.optimizer.step_peak_bytes
        if self.resident_bytes is None or model.backward_peak_bytes is None or model.gradient_bytes is None:
            return None
        if step is None:
            return None
        if self.optimizer.closure:
            return self.resident_bytes + model.backward_peak_bytes + step
        return self.resident_bytes + max(model.backward_peak_bytes, model.gradient_bytes + step)

    def multiple(self, size: int | None) -> float:
        """`size` over the bytes of the trainable parameters; NaN if unknown."""
        return float("nan") if size is None else size / self.model.parameter_bytes
