"""Optuna's usual objective function: each call builds a model, trains it alone and returns its validation accuracy.

`python -m benchmarks.optuna_objective --trials N --epochs N` prints one line of JSON: seconds (of all trials, without imports and data),
best (validation accuracy).
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import optuna
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.tuning import BATCH, HIDDEN, MOMENTUM, RATES
from optbench.catalog.data_root import data_root
from optbench.catalog.data_sets import load_data
from optbench.suite.types import Component


def split() -> list[TensorDataset]:
    """Return the training and the validation split of the digits, standardised, in memory."""
    splits = load_data(Component(name="digits"), data_root(None))
    train = np.asarray(splits.train.inputs, dtype=np.float32)
    mean, std = train.mean(), train.std()
    return [
        TensorDataset(
            torch.from_numpy((np.asarray(part.inputs, dtype=np.float32) - mean) / std).flatten(1),
            torch.from_numpy(np.asarray(part.labels)).long(),
        )
        for part in (splits.train, splits.validation)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    arguments = parser.parse_args()
    train, validation = split()
    features = train.tensors[0].shape[1]

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("lr", *RATES, log=True)
        momentum = 1 - trial.suggest_float("one_minus_momentum", *MOMENTUM, log=True)
        model = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
        loader = DataLoader(train, batch_size=BATCH, shuffle=True, drop_last=True)
        accuracy = 0.0
        for epoch in range(arguments.epochs):
            model.train()
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), targets)
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                right = sum(
                    int((model(inputs).argmax(1) == targets).sum())
                    for inputs, targets in DataLoader(validation, batch_size=1000)
                )
            accuracy = right / len(validation)
            trial.report(accuracy, epoch)
        return accuracy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    began = time.perf_counter()
    study.optimize(objective, n_trials=arguments.trials)
    print(json.dumps({"seconds": time.perf_counter() - began, "best": study.best_value}))


if __name__ == "__main__":
    main()
