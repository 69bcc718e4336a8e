"""Compose a first suite from a few answers. Typical values of a data set or optimizer are in its file (`STARTER`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from optbench.catalog import lookup, sources
from optbench.catalog.data_sets import task_of
from optbench.catalog.signatures import UNKNOWN, signature
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError
from optbench.suite.types import Component
from optbench.suite.yaml_source import resolves_to_text

#: share of the requested time for training steps; the rest is for start-up, evaluation and other load
TRAINING_SHARE = 0.7
#: seconds per step if it could not be timed
ASSUMED_STEP_SECONDS = 0.02
_LEAST_STEPS = 20
_GENERIC = {"batch_size": 64, "most_epochs": 50}
_TARGET = 0.8  # of a classification
_PLAIN = re.compile(r"[A-Za-z0-9_./+-][A-Za-z0-9_./+: -]*(?<!:)(?<! )")


@dataclass(frozen=True)
class Budget:
    """Training length of a trial: whole or half epochs; steps if an epoch takes too long."""

    steps: int
    text: str
    every: str
    """Between evaluations; empty for the default, an epoch."""
    capped: bool
    """More would fit into the time than is usual for the data."""
    floored: bool = False
    """The time is too short for even the fewest steps."""


def starter_of(data: Component, folder: Path) -> dict[str, Any]:
    """Return the usual target, batch size, maximum epochs and augmentation of a data set; a target may be a mapping by task."""
    target = lookup.resolve("data", data.name, folder)
    own = sources.constants(target.file).get("STARTER") if target.kind == "catalog" and target.file else None
    task = task_of(data, folder)
    generic = {**_GENERIC, **({"target": _TARGET} if task == "classification" else {})}
    usual = {**generic, **(own if isinstance(own, dict) else {})}
    targets = usual.get("target")
    if isinstance(targets, dict):
        usual.pop("target")
        usual |= {"target": targets[task]} if task in targets else {}
    return usual


def entry(name: str, arguments: Mapping[str, Any], folder: Path) -> tuple[str, dict[str, Any]]:
    """Return label and entry of an optimizer. The learning rate is always written, since it is changed first."""
    target = lookup.resolve("optimizers", name, folder)
    use = name if target.kind == "file" else f"{target.module}.{target.attribute}"
    settings: dict[str, Any] = {}
    files = lookup.items("optimizers")
    if name in files:
        facts = sources.constants(files[name])
        use, settings = str(facts["USE"]), dict(facts.get("STARTER", {}))
    if "use" in settings and arguments:
        raise OptbenchError(f"'{name}' is several rules here; write its arguments into the file that is made")
    if "lr" not in settings and "use" not in settings:
        rate = next((p.default for p in signature(target).parameters if p.name == "lr"), UNKNOWN)
        settings |= {"lr": rate} if isinstance(rate, (int, float)) else {}
    settings |= arguments
    label = re.split(r"[.:]", use)[-1]
    if label == "SGD" and settings.get("momentum"):
        label = "SGD + Momentum"
    if isinstance(settings.get("use"), list):
        label += " + AdamW"
    return label, {"use": use, **settings}


def budget(
    minutes: float, trials: int, step_seconds: float, steps_an_epoch: int, most_epochs: float
) -> Budget:
    """Divide `TRAINING_SHARE` of the time among all trials; at most the usual epochs, at least 20 steps."""
    steps = minutes * 60 * TRAINING_SHARE / (trials * step_seconds)
    epochs = steps / steps_an_epoch
    if epochs >= most_epochs:
        return Budget(ceil(most_epochs * steps_an_epoch), _epochs(most_epochs), "", True)
    if epochs >= 1:
        whole = int(epochs) if epochs >= 8 else int(epochs * 2) / 2
        every = "" if whole >= 8 else "0.25 epochs" if steps_an_epoch >= 8 else "1 step"
        return Budget(round(whole * steps_an_epoch), _epochs(whole), every, False)
    count = max(_LEAST_STEPS, round(steps, -1 if steps < 1000 else -2))
    return Budget(
        int(count), f"{int(count)} steps", f"{max(1, int(count) // 10)} steps", False, steps < _LEAST_STEPS
    )


def _epochs(number: float) -> str:
    return "1 epoch" if number == 1 else f"{number:g} epochs"


@dataclass(frozen=True)
class Answers:
    """What a first suite compares, on which workload. `entries`: settings by label; `usual`: result of `starter_of` for the data."""

    model: Component
    data: Component
    info: DataInfo
    entries: Mapping[str, Mapping[str, Any]]
    seeds: int
    target: Mapping[str, Any] | None
    usual: Mapping[str, Any]


def compose(answers: Answers, length: Budget, because: str, file: str) -> str:
    """Return the suite as YAML, with comments for new users. `because`: the reason for the budget, one sentence."""
    question = f"Which optimizer for {answers.model.name} on {answers.data.name}?"
    lines = [
        f"# {question}",
        f"#   optbench check {file}    report all errors",
        f"#   optbench plan {file}     list the trials, with a time estimate",
        f"#   optbench run {file}      run it, or resume it",
        f"title: {scalar(question)}",
        "",
        "workload:  # what all optimizers share: the same weights at the start, the same batches in the same order",
        f"  model: {flow(named(answers.model))}  # others: optbench list models; yours: my_model.py:Net",
        f"  data: {flow(named(answers.data))}  # others: optbench list data",
        f"  batch_size: {batch_size(answers.usual, answers.info)}",
        f"  # {because}",
        f"  budget: {length.text}  # every trial spends it; also the length of the schedule",
    ]
    if answers.target is not None:
        lines += [
            "  # Time to target is the first evaluation on the validation split that reaches it. This one is a first guess: after",
            "  # a run, take a value that most entries reach in the middle of their budget.",
            f"  target: {flow(answers.target)}  # a list of targets costs nothing more",
        ]
    if length.every:
        lines.append(f"  evaluate: {{every: {length.every}}}  # times are known no finer than this")
    if len(answers.info.shape) == 3 and answers.usual.get("augment"):
        lines.append(
            f"  augment: {flow(answers.usual['augment'])}  # random crops and mirror images in training"
        )
    lines += [
        "",
        "schedule: {name: cosine, warmup: 5%}  # of the learning rate; an entry may have its own",
        f"seeds: {answers.seeds}  # 0 to {answers.seeds - 1}; with fewer than 5, tables are called preliminary",
        "",
        "# Usual values, not tuned ones: a comparison is only as fair as the hyperparameters that you give it.",
        "optimizers:",
    ]
    width = max(len(scalar(label)) for label in answers.entries) + 1
    lines += [
        f"  {scalar(label) + ':':<{width}} {flow(settings)}" for label, settings in answers.entries.items()
    ]
    lines += [
        "",
        "# How much does the learning rate matter? Remove the '# ' below: thirteen rates for every entry, beside the table.",
        "# sensitivity:",
        "#   lr: {log: [1e-4, 1], points: 13}",
    ]
    return "\n".join(lines) + "\n"


def batch_size(usual: Mapping[str, Any], info: DataInfo) -> int:
    """Return the usual batch size; smaller for small data, so that an epoch has at least 8 steps."""
    return max(1, min(int(usual["batch_size"]), info.train // 8 or 1))


def named(component: Component) -> dict[str, Any]:
    return {"name": component.name, **component.arguments}


def flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(flow, value))}]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Return a scalar as YAML, quoted only if necessary."""
    import json

    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    if isinstance(value, (int, float)) or (
        _PLAIN.fullmatch(text) and ": " not in text and resolves_to_text(text)
    ):
        return text
    return json.dumps(text, ensure_ascii=False)
