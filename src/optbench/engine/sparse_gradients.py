"""Sparse gradients of embeddings with `sparse=True`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from optbench.errors import describe_error, first_line


def sparsify_gradients(model: nn.Module, max_rows: int, generator: torch.Generator | None = None) -> None:
    """Replace synthetic gradients of sparse embeddings by sparse ones, with as many rows as a batch may use.

    With `generator`, these are `max_rows` random rows, as in batches; otherwise the first `max_rows` rows.
    """
    for weight in _sparse_weights(model):
        gradient = weight.grad
        if gradient is None or (gradient.is_sparse and generator is None):
            continue
        # torch warns at the first sparse tensor if neither was chosen, also in optimizers
        checks: Any = torch.sparse.check_sparse_tensor_invariants
        if not checks.is_enabled():
            checks.disable()
        if generator is None:
            rows = torch.arange(min(len(weight), max_rows), device=weight.device)
        else:
            rows = torch.randint(len(weight), (max_rows,), generator=generator)
        values = gradient._values() if gradient.is_sparse else gradient[rows].clone()
        weight.grad = torch.sparse_coo_tensor(rows[None], values, weight.shape, check_invariants=True)


def has_sparse_gradients(model: nn.Module) -> bool:
    """Return whether an embedding of the model has sparse gradients."""
    return next(_sparse_weights(model), None) is not None


def on_sparse_gradients(model: nn.Module, record: Callable[[int], None]) -> None:
    """Call `record` with the bytes of indices and values of each sparse gradient that a backward pass computes."""

    def measure(gradient: Tensor) -> None:
        parts = (gradient._indices(), gradient._values()) if gradient.is_sparse else ()
        record(sum(part.numel() * part.element_size() for part in parts))

    for weight in _sparse_weights(model):
        weight.register_hook(measure)  # type: ignore[no-untyped-call]


def unsupported_decay(error: BaseException) -> str:
    """Return the fix if a step with weight decay raised `error` since it cannot add the decay to sparse gradients; else an empty text."""
    message = first_line(error)
    if "add(sparse, dense)" not in message and not ("weight_decay" in message and "sparse" in message):
        return ""
    return (
        f"step() raised {describe_error(error).rstrip('.')}: weight decay cannot be added to the sparse gradients of embeddings; "
        "expected `weight_decay: 0`, `no_weight_decay: embeddings`, or a model with `sparse: false`"
    )


def _sparse_weights(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        if (
            isinstance(module, (nn.Embedding, nn.EmbeddingBag))
            and module.sparse
            and module.weight.requires_grad
        ):
            yield module.weight
