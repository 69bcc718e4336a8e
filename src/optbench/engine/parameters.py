"""Assignment of parameters to the optimizers of an entry, and exemptions from weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import nn

from optbench.errors import OptbenchError
from optbench.suite.types import Exempt, Group, Rule

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


@dataclass(frozen=True)
class Parameter:
    """A trainable parameter with the properties that rules refer to."""

    name: str
    tensor: nn.Parameter
    in_norm: bool
    in_embedding: bool

    def matches(self, pattern: str) -> bool:
        """Return whether a rule's keyword or glob over names matches this parameter."""
        dimensions = self.tensor.dim()
        match pattern:
            case "all" | "rest":
                return True
            case "embeddings":
                return self.in_embedding
            case "matrices":
                return dimensions == 2 and not self.in_embedding
            case "convolutions":
                return dimensions >= 3
            case "vectors":
                return dimensions <= 1
        return fnmatchcase(self.name, pattern)

    def is_exempt(self, kinds: Sequence[Exempt]) -> bool:
        """Return whether these kinds, which are exempt from weight decay, include this parameter."""
        return (
            ("norms" in kinds and self.in_norm)
            or ("embeddings" in kinds and self.in_embedding)
            or ("biases" in kinds and not self.in_norm and self.name.rpartition(".")[2].endswith("bias"))
        )


def trainable(model: nn.Module) -> list[Parameter]:
    """Return each trainable parameter once, in the model's order."""
    owners: dict[int, nn.Module] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), module)
    return [
        Parameter(
            name,
            parameter,
            in_norm=isinstance(owners[id(parameter)], _NORMS),
            in_embedding=isinstance(owners[id(parameter)], (nn.Embedding, nn.EmbeddingBag)),
        )
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]


def small_copies(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Return random parameters on the same device, with the same number of dimensions and sizes of at most 4."""
    return [
        replace(p, tensor=nn.Parameter(torch.randn_like(p.tensor[tuple(slice(4) for _ in p.tensor.shape)])))
        for p in parameters
    ]


def assign_parameters(
    parameters: Sequence[Parameter], rules: Sequence[Rule | Group]
) -> list[list[Parameter]]:
    """Return the parameters of each rule or group, in their order. A parameter belongs to the first that matches it.

    Raises `OptbenchError` for a parameter without a rule and for a rule without parameters: both would train something else than
    intended.
    """
    noun, key = ("group", "groups") if isinstance(rules[0], Group) else ("rule", "use")
    by_rule: list[list[Parameter]] = [[] for _ in rules]
    unmatched = []
    for parameter in parameters:
        for rule, matched in zip(rules, by_rule, strict=True):
            if parameter.matches(rule.parameters):
                matched.append(parameter)
                break
        else:
            unmatched.append(parameter.name)
    if unmatched:
        raise OptbenchError(
            f"no {noun} of `{key}:` matches {', '.join(unmatched[:5])}; end the list with `parameters: rest`"
        )
    for rule, matched in zip(rules, by_rule, strict=True):
        if not matched:
            names = ", ".join(parameter.name for parameter in parameters[:5])
            raise OptbenchError(
                f"the {noun} `parameters: {rule.parameters}` matches no parameter of the model ({names}, ...)"
            )
    return by_rule
