"""Memory of activations and gradients of one batch, traced allocation by allocation on tensors without data.

Fake CPU tensors run the same operations as real ones without allocating, so model and batch can be of any size. They stand for GPU
tensors: GPU kernels allocate the same memory as CPU kernels except for workspaces and a few masks (see `forecasts.BAND`).
"""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from optbench.engine.activations import checkpoint_activations
from optbench.engine.batch import Batch, Zeros, tensors
from optbench.engine.layout import GPU, memory_format
from optbench.engine.precision import Precision
from optbench.engine.sparse_gradients import on_sparse_gradients
from optbench.engine.tasks import Task
from optbench.errors import describe_error
from optbench.forecasts import ModelMemory
from optbench.suite.types import Workload

CPU = torch.device("cpu")


class AllocationTracker(TorchDispatchMode):
    """Count the bytes of storages created inside the block that are still alive (`live`), and their maximum (`peak`).

    Each storage counts once, however many tensors share it. Scalars (0-d tensors) and the storages of `known` are excluded.
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._storages = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(returned):
            if isinstance(leaf, Tensor) and leaf.layout is torch.strided and leaf.dim() > 0:
                self._add(leaf.untyped_storage())
        return returned

    def keep(self, size: int) -> None:
        """Count `size` bytes that stay alive."""
        self.live += size
        self.peak = max(self.peak, self.live)

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        self._storages.add(key)
        self.keep(size)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.live -= size


def model_memory(
    model: nn.Module, workload: Workload, task: Task, batch_size: int, *,
    precision: Precision, device: torch.device = GPU,
) -> ModelMemory:  # fmt: skip
    """Trace one training batch of `batch_size` samples through both passes, in the memory format of `device`.

    `model` is neither run nor changed. Activations are exact for CPU kernels: everything alive at the end of the forward pass except
    parameters, buffers and the batch. Takes accumulation, activation checkpointing, memory format and autocast (two-byte types as
    bf16) into account, but not `compile`. If the model can't be traced (control flow that reads values), `problem` is the reason.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    fixed = [p for p in model.parameters() if not p.requires_grad] + list(model.buffers())
    sizes: dict[str, Any] = {
        "parameters": sum(p.numel() for p in trainable),
        "parameter_bytes": bytes_of(trainable),
        "fixed_bytes": bytes_of(fixed),
        "batch_bytes": 0,
    }
    try:
        sizes["batch_bytes"] = _batch_bytes(task, batch_size)
        activations, gradients, peak = _trace(
            model,
            workload,
            task,
            batch_size,
            precision,
            memory_format(workload, model, device) == "channels_last",
        )
    except Exception as error:  # a user's model may raise anything
        unknown: dict[str, Any] = dict.fromkeys(("gradient_bytes", "activation_bytes", "backward_peak_bytes"))
        return ModelMemory(**sizes, **unknown, problem=describe_error(error))
    return ModelMemory(
        **sizes, gradient_bytes=gradients, activation_bytes=activations, backward_peak_bytes=peak
    )


def bytes_of(tensors: list[Any]) -> int:
    """Return the sum of the tensors' sizes in bytes."""
    return sum(t.numel() * t.element_size() for t in tensors)


def backward(
    model: Callable[..., Any], task: Task, batch: Batch, parts: int,
    precision: Precision, between: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """Run both passes of one training step in `parts` micro-batches and return the batch's mean loss.

    `between` is called between the forward and the backward pass of each micro-batch.
    """
    device = tensors(batch.targets)[0].device
    total = torch.zeros((), device=device)
    whole = task.units(batch)
    for part in batch.split(parts):
        with precision.autocast(device):
            value = task.loss(model, part) * (task.units(part) / whole)
        between()
        value.backward()  # type: ignore[no-untyped-call]
        total += value.detach()
    return total


def _batch_bytes(task: Task, batch_size: int) -> int:
    with FakeTensorMode():
        batch = task.example(batch_size, Zeros())
    each = {id(tensor): tensor for tensor in (*tensors(batch.inputs), *tensors(batch.targets))}
    return bytes_of(list(each.values()))


def _trace(
    model: nn.Module,
    workload: Workload,
    task: Task,
    batch_size: int,
    precision: Precision,
    channels_last: bool,
) -> tuple[int, int, int]:
    """Return activations, gradients and peak, in bytes."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = without_data(model, channels_last=channels_last)
        batch = task.example(batch_size, Zeros(), channels_last=channels_last)
        if workload.activation_checkpointing:
            checkpoint_activations(fake)
        fake.train()
        known = [*fake.parameters(), *fake.buffers(), *tensors(batch.inputs), *tensors(batch.targets)]
        tracker = AllocationTracker(known)
        on_sparse_gradients(fake, tracker.keep)  # tensors without data do not keep their copies
        live_after_forward: list[int] = []
        with tracker:
            backward(
                fake,
                task,
                batch,
                workload.accumulate,
                precision,
                lambda: live_after_forward.append(tracker.live),
            )
        return live_after_forward[0], tracker.live, tracker.peak


def without_data(model: nn.Module, *, channels_last: bool) -> nn.Module:
    """Return a copy whose parameters and buffers have sizes, strides and types but no data."""

    def fake(tensor: Tensor) -> Tensor:
        if channels_last and tensor.dim() == 4:
            empty = torch.empty(tensor.size(), dtype=tensor.dtype, memory_format=torch.channels_last)
        else:
            empty = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
        return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty

    tensors = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): fake(tensor) for tensor in tensors})
