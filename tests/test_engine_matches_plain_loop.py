"""The engine computes what a plain hand-written PyTorch loop computes, bit for bit on a CPU."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from optbench.catalog.data.synthetic import load as synthetic
from optbench.catalog.models.small_cnn import build as small_cnn
from optbench.engine.randomness import derive
from trials import evaluations, run, trials

STEPS_PER_EPOCH, EPOCHS, BATCH, WARMUP = 6, 3, 16, 4
DATA = {"shape": [3, 8, 8], "classes": 3, "train": 96, "validation": 40, "test": 32}
ENTRIES = {
    "SGD + Momentum": ("torch.optim.SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    "Adam": ("torch.optim.Adam", {"lr": 1e-3}),
    "AdamW": ("torch.optim.AdamW", {"lr": 1e-3, "weight_decay": 0.05}),
    "RMSprop": ("torch.optim.RMSprop", {"lr": 1e-3}),
}


def plain_loop(use: str, arguments: dict, seed: int, clip: float) -> list[dict[str, float]]:
    """Nothing of optbench in the training itself: model, shuffling, schedule, clipping and evaluation are written out."""
    splits = synthetic(Path(), **DATA)
    mean = torch.tensor(splits.mean)[None, :, None, None]
    std = torch.tensor(splits.std)[None, :, None, None]
    images = torch.from_numpy(splits.train.inputs)
    labels = torch.from_numpy(splits.train.labels)
    torch.manual_seed(derive(seed, "initial weights"))
    model = small_cnn((3, 8, 8), 3, width=8)
    optimizer = getattr(torch.optim, use.rpartition(".")[2])(model.parameters(), **arguments)
    base, total = arguments["lr"], STEPS_PER_EPOCH * EPOCHS
    records, losses, step = [], [], 0
    for epoch in range(EPOCHS):
        order = torch.randperm(96, generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))
        model.train()
        for position in range(STEPS_PER_EPOCH):
            rows = order[position * BATCH : (position + 1) * BATCH]
            if step < WARMUP:
                rate = base * ((step + 1) / WARMUP)
            else:
                rate = base * (0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (total - WARMUP))))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model((images[rows].float() - mean) / std), labels[rows])
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
            step += 1
        model.eval()
        with torch.no_grad():
            outputs = model((torch.from_numpy(splits.validation.inputs).float() - mean) / std)
            wanted = torch.from_numpy(splits.validation.labels)
            records.append(
                {
                    "train_loss": math.fsum(losses) / len(losses),
                    "learning_rate": rate,
                    "gradient_norm": norm.item(),
                    "accuracy": (outputs.argmax(1) == wanted).float().mean().item(),
                    "loss": nn.functional.cross_entropy(outputs, wanted).item(),
                }
            )
        losses = []
    return records


@pytest.mark.parametrize("label", ENTRIES)
def test_engine_equals_plain_loop_bit_for_bit(label: str, tmp_path: Path) -> None:
    use, arguments = ENTRIES[label]
    clip = 0.5
    (trial,) = trials(
        tmp_path,
        workload={
            "model": {"name": "small_cnn", "width": 8},
            "data": {"name": "synthetic", **DATA},
            "batch_size": BATCH,
            "budget": {"epochs": EPOCHS},
        },
        optimizers={label: {"use": use, **arguments}},
        schedule={"name": "cosine", "warmup": f"{WARMUP} steps"},
        clip={"norm": clip},
        seeds=[7],
    )
    measured = [
        {
            "train_loss": record.train_loss,
            "learning_rate": record.learning_rate,
            "gradient_norm": record.gradient_norm,
            "accuracy": pytest.approx(record.metrics["validation"]["accuracy"], abs=1e-7),
            "loss": pytest.approx(record.metrics["validation"]["loss"], rel=1e-6),
        }
        for record in evaluations(run(trial, tmp_path))
    ]
    assert plain_loop(use, arguments, seed=7, clip=clip) == measured
