"""Check sweeps, horizons and published rows of a suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.arguments import Finding
from optbench.catalog.signatures import signature
from optbench.errors import OptbenchError, nearest
from optbench.suite.sweep import own_point, points
from optbench.suite.types import Suite


def question_findings(suite: Suite, folder: Path) -> Iterator[Finding]:
    yield from _published(suite)
    if suite.final == "best_validation" and any(w.relabel is not None for w in suite.workloads.values()):
        message = "with 'relabel', the best weights may belong to earlier labels; expected 'last'"
        yield ("final",), message
    yield from _horizons(suite)
    if suite.sensitivity:
        yield from _sensitivity(suite, folder)


def _published(suite: Suite) -> Iterator[Finding]:
    for position, row in enumerate(suite.published):
        if row.optimizer is not None and row.optimizer not in suite.optimizers:
            hint = nearest(row.optimizer, suite.optimizers)
            message = f"no entry '{row.optimizer}'; {hint} (for a row without an entry, use 'label')"
            yield ("published", position, "optimizer"), message
        for column, claim in row.values.given.items():
            if claim.over is None:
                continue
            path = ("published", position, "values", column, "over")
            others = [label for label in suite.optimizers if label != row.optimizer]
            if claim.over == row.optimizer:
                message = f"expected an entry other than '{claim.over}', which this row is about"
                yield path, f"{message}: one of {', '.join(others)}" if others else message
            elif claim.over not in suite.optimizers:
                yield path, f"no entry '{claim.over}'; {nearest(claim.over, others)}"


def _horizons(suite: Suite) -> Iterator[Finding]:
    for label, entry in suite.optimizers.items():
        if suite.horizons and entry.horizon is not None and entry.horizons is None:
            message = "the 'horizons' of the suite override this length; add 'horizons: []' to this entry to keep it"
            yield ("optimizers", label, "horizon"), message


def _sensitivity(suite: Suite, folder: Path) -> Iterator[Finding]:
    for label, entry in suite.optimizers.items():
        try:
            points(suite.sensitivity, entry)
        except ValueError as error:
            yield ("optimizers", label), f"sensitivity: {error}"
        if len(entry.rules) > 1:
            continue  # factors apply only to values that a rule sets
        try:
            read = signature(lookup.resolve("optimizers", entry.rules[0].use, folder))
        except OptbenchError:
            continue  # reported already
        own = own_point(suite.sensitivity, entry)
        for name in suite.sensitivity:
            if name not in own and name not in read.names and not read.accepts_any:
                message = f"sensitivity: '{entry.rules[0].use}' has no argument '{name}'"
                yield ("optimizers", label), f"{message}; {nearest(name, read.names)}"
