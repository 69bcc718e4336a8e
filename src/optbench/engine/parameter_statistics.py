"""Norms of gradients, updates and weights per kind of parameter in one training step (`study: parameters`), and of embedding rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from optbench.engine.gradient_norms import components
from optbench.engine.parameters import trainable
from optbench.engine.session import Session
from optbench.engine.sharding import full_value

#: keywords of `parameters:` in rules, in the order in which a parameter is matched: every parameter has exactly one kind
KINDS = ("embeddings", "matrices", "convolutions", "vectors")


class StepMeasurement:
    """Create it before a step, outside of the clock: it copies the trainable parameters."""

    def __init__(self, session: Session) -> None:
        self._kinds: dict[str, list[Tensor]] = {}
        for parameter in trainable(session.model):
            kind = next(kind for kind in KINDS if parameter.matches(kind))
            self._kinds.setdefault(kind, []).append(parameter.tensor)
        self._before = {
            kind: [tensor.detach().clone() for tensor in tensors] for kind, tensors in self._kinds.items()
        }

    def read(self) -> dict[str, float]:
        """Return the norms after the step as `<quantity>_<kind>`; waits for the device.

        gradient_norm: of the gradients that the optimizer received, after clipping. update_norm: of the change of the parameters.
        weight_norm: of the parameters before the step. relative_update: update_norm / weight_norm. Each norm is Euclidean, over all
        parameters of the kind.
        """
        norms: dict[str, Tensor] = {}
        for kind in sorted(self._kinds, key=KINDS.index):
            now, before = self._kinds[kind], self._before[kind]
            gradients = components(tensor.grad for tensor in now if tensor.grad is not None)
            updates = [new.detach() - old for new, old in zip(now, before, strict=True)]
            norms |= {
                f"gradient_norm_{kind}": _norm(gradients, before[0].device),
                f"update_norm_{kind}": _norm(updates, before[0].device),
                f"weight_norm_{kind}": _norm(before, before[0].device),
            }
            norms[f"relative_update_{kind}"] = norms[f"update_norm_{kind}"] / norms[f"weight_norm_{kind}"]
        values: list[float] = torch.stack(list(norms.values())).tolist() if norms else []
        return dict(zip(norms, values, strict=True))


def _norm(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Return the norm of all tensors together, a float32 scalar; 0 without tensors."""
    if not tensors:
        return torch.zeros((), device=device)
    norms = torch.stack([torch.linalg.vector_norm(tensor.detach()).float() for tensor in tensors])
    total: Tensor = torch.linalg.vector_norm(norms)
    return total


@torch.no_grad()
def largest_embedding_norm(model: nn.Module) -> float | None:
    """Return the largest L2 norm of a row of all embedding tables; None for a model without one. Call it on all ranks."""
    tables = [m.weight for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
    return max((float(full_value(table.norm(dim=1).max())) for table in tables), default=None)
