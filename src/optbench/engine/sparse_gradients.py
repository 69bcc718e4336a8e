"""Sparse gradients for embeddings with `sparse=True`, where gradients are synthetic instead of computed."""

from __future__ import annotations

import torch
from torch import nn


def sparsify_gradients(model: nn.Module, max_rows: int) -> None:
    """Replace the dense gradients of sparse embeddings by sparse ones of their first `max_rows` rows: as many as a batch may use."""
    for module in model.modules():
        if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or not module.sparse:
            continue
        dense = module.weight.grad
        if dense is None or dense.is_sparse:
            continue
        rows = torch.arange(min(len(dense), max_rows), device=dense.device)
        module.weight.grad = torch.sparse_coo_tensor(
            rows[None], dense[: len(rows)].clone(), dense.shape, check_invariants=True
        )
