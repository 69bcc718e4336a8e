"""Initial weights by an initialisation that the suite names, instead of the model's own."""

from __future__ import annotations

import torch
from torch import nn

from optbench.catalog import lookup
from optbench.errors import OptbenchError
from optbench.suite.types import Component

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.Bilinear)


def initialise(model: nn.Module, rule: Component | None, folder: str) -> None:
    """Initialise the weights of linear and convolution layers and of attention projections; set their biases to 0.

    Draws from torch's global generator. Raises `OptbenchError` for arguments that the initialisation does not accept.
    """
    if rule is None or rule.name == "model":
        return
    loaded = lookup.load(lookup.resolve("initialisations", rule.name, folder))
    fill = getattr(loaded, "fill", loaded)
    for module in model.modules():
        weights = [module.weight] if isinstance(module, _LAYERS) else []
        biases = [module.bias] if isinstance(module, _LAYERS) else []
        if isinstance(module, nn.MultiheadAttention):
            projections = (
                module.in_proj_weight,
                module.q_proj_weight,
                module.k_proj_weight,
                module.v_proj_weight,
            )
            weights, biases = [w for w in projections if w is not None], [module.in_proj_bias]
        with torch.no_grad():
            for weight in weights:
                try:
                    fill(weight, **rule.arguments)
                except (TypeError, ValueError) as error:
                    raise OptbenchError(f"init {rule.name}: {error}") from error
            for bias in biases:
                if bias is not None:
                    bias.zero_()
