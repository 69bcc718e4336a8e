"""Variational autoencoder of fully connected layers (Kingma and Welling 2013, arXiv:1312.6114)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TASKS = ("autoencoding",)


class VAE(nn.Module):
    """Encoder to the mean and logarithmic variance of a normal code; decoder to logits of the pixels."""

    def __init__(self, features: int, hidden: int, code: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 2 * code))
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, features))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        mean, log_variance = self.encoder(pixels).chunk(2, dim=1)
        sample = mean
        if self.training:  # evaluations use the mean of the code, so that they repeat exactly
            sample = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return {"reconstruction": self.decoder(sample), "mean": mean, "log_variance": log_variance}


def build(in_features: int, *, hidden: int = 128, code: int = 16) -> nn.Module:
    """Input pixels (batch, features) from 0 to 1; output {reconstruction (logits), mean, log_variance}."""
    return VAE(in_features, hidden, code)
