"""Which optimizer gets which parameters, and which of them decay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import nn

from optbench.errors import OptbenchError
from optbench.suite.types import Exempt, Rule

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


@dataclass(frozen=True)
class Parameter:
    """A trainable parameter with what rules may ask about it."""

    name: str
    tensor: nn.Parameter
    of_norm: bool
    of_embedding: bool

    def fits(self, wanted: str) -> bool:
        """Whether the rule's word (or glob over names) covers this parameter."""
        dimensions = self.tensor.dim()
        match wanted:
            case "all" | "rest":
                return True
            case "embeddings":
                return self.of_embedding
            case "matrices":
                return dimensions == 2 and not self.of_embedding
            case "convolutions":
                return dimensions >= 3
            case "vectors":
                return dimensions <= 1
        return fnmatchcase(self.name, wanted)

    def exempt(self, kinds: Sequence[Exempt]) -> bool:
        return (
            ("norms" in kinds and self.of_norm)
            or ("embeddings" in kinds and self.of_embedding)
            or ("biases" in kinds and not self.of_norm and self.name.rpartition(".")[2].endswith("bias"))
        )


def trainable(model: nn.Module) -> list[Parameter]:
    """Every trainable parameter once, in the model's own order."""
    owners: dict[int, nn.Module] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), module)
    return [
        Parameter(
            name,
            parameter,
            of_norm=isinstance(owners[id(parameter)], _NORMS),
            of_embedding=isinstance(owners[id(parameter)], (nn.Embedding, nn.EmbeddingBag)),
        )
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]


def small(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Random stand-ins on the same device, with as many dimensions and sides of at most 4."""
    return [
        replace(p, tensor=nn.Parameter(torch.randn_like(p.tensor[tuple(slice(4) for _ in p.tensor.shape)])))
        for p in parameters
    ]


def route(parameters: Sequence[Parameter], rules: Sequence[Rule]) -> list[list[Parameter]]:
    """The parameters of each rule, in the rules' order. The first rule that fits takes a parameter.

    Raises `OptbenchError` where a parameter is left over or a rule gets none: both would silently train something else.
    """
    taken: list[list[Parameter]] = [[] for _ in rules]
    left = []
    for parameter in parameters:
        for rule, mine in zip(rules, taken, strict=True):
            if parameter.fits(rule.parameters):
                mine.append(parameter)
                break
        else:
            left.append(parameter.name)
    if left:
        raise OptbenchError(
            f"no rule of `use:` takes {', '.join(left[:5])}; end the list with `parameters: rest`"
        )
    for rule, mine in zip(rules, taken, strict=True):
        if not mine:
            names = ", ".join(parameter.name for parameter in parameters[:5])
            raise OptbenchError(
                f"the rule `parameters: {rule.parameters}` fits no parameter of the model ({names}, ...)"
            )
    return taken
