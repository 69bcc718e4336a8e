"""Results of a memory forecast, in bytes. Imports no other module of optbench; every package may use it."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Range of the actual peak of a GPU's allocator, as multiples of the forecast, unless `--check` measures it. Assumed, not
#: measured: below 1, since dropout on a GPU keeps byte masks where the CPU's kernels, which are forecast, keep floats; above 1
#: for the workspaces of cuBLAS and cuDNN and for blocks rounded up to 512 bytes.
BAND = (0.95, 1.2)


@dataclass(frozen=True)
class ModelMemory:
    """Memory of a model and one training batch, independent of the optimizer.

    The last three sizes are None if the forward or backward pass could not be traced; `problem` is the reason.
    """

    parameters: int  # number of trainable scalars
    parameter_bytes: int  # of the trainable parameters
    fixed_bytes: int  # frozen parameters and buffers
    batch_bytes: int  # inputs and labels
    gradient_bytes: int | None  # alive after the backward pass
    activation_bytes: int | None  # alive between the forward and the backward pass
    #: maximum alive at once in both passes: activations, gradients, temporaries
    backward_peak_bytes: int | None
    problem: str = ""


@dataclass(frozen=True)
class OptimizerMemory:
    """Memory of an optimizer for the model's parameters. Both sizes are None if its step fails; `problem` is the reason."""

    state_bytes: int | None  # distinct storages reachable from it, without scalars and aliases of parameters
    step_peak_bytes: int | None  # transient peak of `step()`, beyond what is kept between steps
    implementation: str = ""  # forloop, foreach or fused; own if the class has no such option
    closure: bool = False  # forward and backward pass happen inside `step()`
    note: str = ""
    at_least: bool = False  # `state_bytes` is a lower bound: the note states what could not be counted
    problem: str = ""


@dataclass(frozen=True)
class Forecast:
    """One row: a label, and the memory of training with its optimizer. `measured_bytes` is the allocator's peak, if requested."""

    label: str
    batch_size: int
    precision: str
    model: ModelMemory
    optimizer: OptimizerMemory
    average_bytes: int = 0  # of the moving average of the weights
    measured_bytes: int | None = None
    devices: int = 1  # all sizes are those of one device
    sharding: str = "none"
    bucket_bytes: int = 0  # gradients in the buckets in which devices average them
    #: size of all trainable parameters if a device has a part of them only; None: `model.parameter_bytes`
    whole_parameter_bytes: int | None = None

    @property
    def resident_bytes(self) -> int | None:
        """Memory that is kept between steps: parameters, buffers, moving average, optimizer state, and the batch.

        With several devices, also the buckets in which gradients are averaged.
        """
        if self.optimizer.state_bytes is None:
            return None
        model = self.model
        model_and_batch = model.parameter_bytes + model.fixed_bytes + model.batch_bytes
        return model_and_batch + self.average_bytes + self.bucket_bytes + self.optimizer.state_bytes

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
        """Return `size` divided by the bytes of the trainable parameters; NaN if the size is unknown."""
        if size is None:
            return math.nan
        return size / (self.whole_parameter_bytes or self.model.parameter_bytes)
