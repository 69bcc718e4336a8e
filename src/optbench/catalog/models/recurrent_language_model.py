"""Recurrent language model: token embedding, LSTM or GRU layers, and scores of the next token at every position."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

TASKS = ("language",)

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN}


class RecurrentLanguageModel(nn.Module):
    """The states of all steps through a linear layer."""

    def __init__(self, vocab_size: int, hidden: int, layers: int, cell: str) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, hidden)
        self.recurrent = _CELLS[cell](hidden, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.recurrent(self.tokens(tokens))
        scores: Tensor = self.head(states)
        return scores


def build(
    vocab_size: int, *, hidden: int = 64, layers: int = 1, cell: Literal["lstm", "gru", "tanh"] = "lstm"
) -> nn.Module:
    """Input tokens (batch, context), output scores (batch, context, vocab_size). `cell` as in the model `recurrent`."""
    if cell not in _CELLS:
        raise ValueError(f"cell: expected one of {', '.join(_CELLS)}; found {cell!r}")
    return RecurrentLanguageModel(vocab_size, hidden, layers, cell)
