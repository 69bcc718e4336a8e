"""Language modelling: the next token at every position of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.task_types import Example, Values
    from optbench.catalog.types import DataInfo

LOSS = "token_cross_entropy"
METRICS = ("bits_per_token", "perplexity")
EXAMPLE = {"shape": (128,), "classes": 256}
STARTER = {"model": "gpt", "data": "text"}
IGNORED = -100  # target of a position that does not count, as in torch.nn.CrossEntropyLoss


def facts(info: DataInfo) -> Mapping[str, Any]:
    """Return vocabulary size and context length under the names that constructors use."""
    sizes = dict.fromkeys(("vocab_size", "num_tokens"), info.classes)
    lengths = dict.fromkeys(
        ("context", "block_size", "max_position_embeddings", "n_positions"), info.shape[0]
    )
    return {**sizes, **lengths}


def example(info: DataInfo, samples: int, make: Example) -> tuple[Values, Values]:
    """Return tokens and next tokens, both (samples, context); with named inputs, tokens under each name."""
    context = info.shape[0]
    targets = make.integers(info.classes, samples, context)
    names = info.facts.get("input_names", ())
    if names:
        return {name: make.integers(info.classes, samples, context) for name in names}, targets
    return make.integers(info.classes, samples, context), targets


def outputs_problem(outputs: Any, samples: int, info: DataInfo) -> str:
    """Outputs are scores, (samples, context, vocabulary)."""
    shape = getattr(outputs, "shape", None)
    if shape is None:
        return f"expected a tensor of scores; found {type(outputs).__name__}"
    wanted = (samples, info.shape[0], info.classes)
    if tuple(shape) == wanted:
        return ""
    found = ", ".join(map(str, shape[1:]))
    return f"expected outputs of shape (batch, {wanted[1]}, {wanted[2]}), one score per token; found (batch, {found})"


def units(targets: Tensor) -> Tensor:
    """Return the number of tokens that count."""
    return (targets != IGNORED).sum()


def limits(info: DataInfo) -> Mapping[str, int]:
    """Tokens are below the size of the vocabulary."""
    return {"inputs": info.classes, "targets": info.classes}
