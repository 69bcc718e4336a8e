"""Orthogonal: rows (or columns) of length 1 at right angles (Saxe et al. 2014, https://arxiv.org/abs/1312.6120)."""

from __future__ import annotations

from torch import Tensor, nn


def fill(weight: Tensor, *, gain: float = 1.0) -> None:
    """A convolution kernel is treated as a matrix with one row per output channel."""
    nn.init.orthogonal_(weight, gain)
