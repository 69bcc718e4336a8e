"""GPT: a small causal transformer for text, pre-norm, with tied embeddings (after nanoGPT and Radford et al. 2019)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TASKS = ("language",)


class Block(nn.Module):
    """Causal self-attention, then an MLP of four times the width, each with a norm before it and a residual connection."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.heads, self.dropout = heads, dropout

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        x = x + F.dropout(self.out(attended.transpose(1, 2).flatten(2)), self.dropout, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.norm2(x)))), self.dropout, self.training)


class GPT(nn.Module):
    """Token and position embeddings, blocks, a norm, and scores by the token embedding."""

    def __init__(
        self, vocab_size: int, context: int, depth: int, heads: int, dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, dim), nn.Embedding(context, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                scaled = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if scaled else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.positions(positions)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def build(
    vocab_size: int, context: int, *, depth: int = 2, heads: int = 2, dim: int = 64, dropout: float = 0.0
) -> nn.Module:
    """Input tokens (batch, context), output scores (batch, context, vocab_size).

    Weights are normal with std 0.02, those that end a residual branch divided by sqrt(2 x depth). 109,568 parameters at the defaults
    for 84 characters and a context of 64.
    """
    if heads < 1 or dim % heads:
        raise ValueError(f"heads: expected a divisor of dim {dim}; found {heads}")
    return GPT(vocab_size, context, depth, heads, dim, dropout)
