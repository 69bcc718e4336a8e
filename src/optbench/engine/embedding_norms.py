"""Norms of the rows of a model's embedding tables."""

from __future__ import annotations

import torch
from torch import nn

from optbench.engine.sharding import full_value


def largest_row_norm(model: nn.Module) -> float | None:
    """Return the largest L2 norm of a row of all embedding tables; None for a model without one."""
    tables = [
        module.weight for module in model.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    ]
    if not tables:
        return None
    with torch.no_grad():
        return max(float(full_value(table.norm(dim=1).max())) for table in tables)
