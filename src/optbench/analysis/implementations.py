"""The step implementation that each optimizer ran, and warnings where a table mixes classes of implementations."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from optbench.analysis.rows import TableRow

#: classes of implementation: seconds compare optimizers only within one class
_FAST = ("fused", "compiled")
_SCOPES = {
    "step": "whole steps",
    "gradients": "forward and backward passes (not the update)",
    "none": "nothing",
}
_WORDS = {"forloop": "for-loop", "own": "the class's own"}


def steps_ran(rows: list[TableRow]) -> str:
    """Return `for-loop steps`, or `steps: fused (SGD, Adam), compiled (RMSprop)`; empty if no record contains it."""
    labels = _labels_by_implementation(rows)
    if len(labels) == 1:
        return f"{_word(next(iter(labels)))} steps"
    return "steps: " + _listed(labels) if labels else ""


def implementation_warnings(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    """Yield kind and message: mixed classes, and optimizers that ran with another implementation than the suite requests."""
    labels = _labels_by_implementation(rows)
    fast = {name: own for name, own in labels.items() if name in _FAST}
    plain = {name: own for name, own in labels.items() if name not in _FAST}
    if fast and plain:
        message = f"training times reflect implementations as well as optimizers: {_listed(fast)} vs {_listed(plain)}"
        yield "implementation", message
    reported = set()
    for row in rows:
        for group in _groups(row):
            label, note = row.trial.label, group.get("implementation_note")
            if note and (label, note) not in reported:
                reported.add((label, note))
                message = f"{label} runs {_word(str(group.get('implementation')))} steps: {note}"
                yield "implementation", message


def compile_note(rows: list[TableRow]) -> Iterator[str]:
    """Yield the compilation time, if anything was compiled."""
    seconds = [
        log.finished.compile_seconds
        for row in rows
        for log in row.logs
        if log.finished is not None and log.finished.compile_seconds
    ]
    if seconds:
        yield (
            f"Compilation took a median of {median(seconds):.1f} s per trial (at most {max(seconds):.1f} s). "
            "The times in this table exclude it."
        )


def capture_note(rows: list[TableRow]) -> Iterator[str]:
    """Yield which parts of the steps ran as CUDA graphs and why not more; nothing if no record contains it."""
    by_scope: dict[tuple[str, str], list[str]] = {}
    for scope, note, label in _captured(rows):
        own = by_scope.setdefault((scope, note), [])
        own += [label] if label not in own else []
    if by_scope:
        parts = [
            f"{_SCOPES.get(scope, scope)} of {', '.join(labels)}" + (f" ({note})" if note else "")
            for (scope, note), labels in by_scope.items()
        ]
        yield f"Captured as CUDA graphs: {'; '.join(parts)}."


def capture_warnings(rows: list[TableRow]) -> Iterator[tuple[str, str]]:
    """Yield kind and message if only some of the steps in one table were launched as graphs."""
    found = list(_captured(rows))
    graphs = dict.fromkeys(label for scope, _, label in found if scope != "none")
    plain = dict.fromkeys(label for scope, _, label in found if scope == "none")
    if graphs and plain:
        yield (
            "implementation",
            f"training times reflect kernel launch modes as well as optimizers: CUDA graphs ({', '.join(graphs)}) vs individual launches "
            f"({', '.join(plain)}); set `cuda_graph: off` to use the same mode for all",
        )


def _captured(rows: list[TableRow]) -> Iterator[tuple[str, str, str]]:
    """Yield scope, note and label of each trial that recorded its capture."""
    for row in rows:
        for log in row.logs:
            if log.finished is not None and log.finished.captured:
                yield log.finished.captured, log.finished.capture_note, row.trial.label


def _labels_by_implementation(rows: list[TableRow]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = {}
    for row in rows:
        for group in _groups(row):
            name = group.get("implementation")
            if isinstance(name, str) and row.trial.label not in labels.setdefault(name, []):
                labels[name].append(row.trial.label)
    return labels


def _groups(row: TableRow) -> Iterator[dict[str, object]]:
    for log in row.logs:
        if log.started is not None:
            yield from log.started.hyperparameters


def _listed(labels: dict[str, list[str]]) -> str:
    return ", ".join(f"{_word(name)} ({', '.join(own)})" for name, own in labels.items())


def _word(name: str) -> str:
    return _WORDS.get(name, name)
