"""Notes on entries whose class treats the learning rate in its own way, from its signature and from `optimizers/_packages.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.optimizers import _packages as facts
from optbench.catalog.signatures import signature
from optbench.errors import OptbenchError
from optbench.suite.load import Loaded
from optbench.suite.plan import merged
from optbench.suite.types import Rule


def rate_notes(loaded: Loaded) -> list[str]:
    """Return one note per finding, with the labels of its entries: classes that estimate their step size, that ignore the schedule of
    their entry, that contain a schedule, or that accept matrices only. Nothing is imported."""
    labels: dict[str, list[str]] = {}
    for label, entry in loaded.suite.optimizers.items():
        schedule = merged(loaded.suite, entry).schedule
        name = schedule.name if schedule is not None else "constant"
        for rule in entry.rules:
            for note in _of_rule(rule, name, loaded.folder):
                labels.setdefault(note, []).append(label)
    return [f"{', '.join(dict.fromkeys(of_note))}: {note}" for note, of_note in labels.items()]


def matrices_only(use: str) -> str:
    """Return the note on a class whose step fails for parameters that are not matrices, without its name."""
    return (
        "accepts matrices only: for a model with other parameters, use rules, as in "
        f"`use: [{{parameters: matrices, use: {use}}}, {{parameters: rest, use: adamw, lr: 1e-3}}]`"
    )


def _of_rule(rule: Rule, schedule: str, folder: Path) -> Iterator[str]:
    try:
        target = lookup.resolve("optimizers", rule.use, folder)
        names = signature(target).names
    except OptbenchError:  # reported as a problem
        return
    use = f"{target.module}.{target.attribute}"
    if "d0" in names or use in facts.RATE_FREE:
        yield (
            "learning-rate-free: lr is a factor of the step size that the class estimates"
            if "lr" in rule.arguments
            else "learning-rate-free: starts at lr 1, a factor of the step size that the class estimates"
        )
    if use in facts.MATRICES_ONLY and rule.parameters == "all" and not rule.groups:
        yield f"'{use}' {matrices_only(use)}"
    if schedule == "constant":
        return
    needed = facts.IGNORES_RATE.get(use)
    if needed is not None and any(
        rule.arguments.get(key) != value for key, value in needed.items() or [("", 0)]
    ):
        settings = " and ".join(f"`{key}: {value}`".lower() for key, value in needed.items())
        unless = f" without {settings}" if settings else ""
        yield f"ignores changes of its learning rate{unless}: the schedule '{schedule}' has no effect on it"
    own = facts.OWN_SCHEDULE.get(use) or (
        "averages the weights in place of a schedule" if "weight_lr_power" in names else ""
    )
    if own:
        yield f"{own}: the schedule '{schedule}' is added to it; `schedule: constant` does not change its own"
