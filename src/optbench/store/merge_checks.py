"""Check whether suite folders can be merged, and compute their union. Nothing here writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.events import FINGERPRINT, Started
from optbench.store.archive import read_record, record_paths
from optbench.store.folder import Plan, Row
from optbench.store.log import read_log
from optbench.store.read import SuiteResults
from optbench.suite.value_formatting import as_text

_REMOVE = "contains no records of a trial that could be copied: remove it"
#: parts of a path that a suite file does not have: `optimizers.Adam.rules.0.arguments.lr` is `optimizers.Adam.lr`
_UNWRITTEN = re.compile(r"\.rules\.0(?=\.)|\.arguments(?=\.)")
_SHOWN = 6  # differing keys that a message names


@dataclass(frozen=True)
class Trial:
    """One attempt's file."""

    key: tuple[str, int]  # trial id, attempt
    config_id: str
    path: Path
    was_alone: bool
    started: Started | None

    @property
    def name(self) -> str:
        return self.path.name

    def content(self) -> bytes:
        return read_record(self.path)


@dataclass(frozen=True)
class Source:
    """A suite's folder that passed the checks."""

    path: Path
    plan: Plan | None
    trials: tuple[Trial, ...]
    aside: tuple[Path, ...]


def check_source(suite: SuiteResults) -> Source:
    """Return the checked folder. Raises `OptbenchError` with every file that is unreadable or incomplete."""
    problems = [replace(p, message=p.message.removesuffix("; file skipped")) for p in suite.warnings]
    named = {problem.file for problem in problems}
    trials = []
    for path in record_paths(suite.path):
        if str(path) in named:
            continue
        try:
            log = read_log(path)
            torn = not read_record(path).endswith(b"\n")
        except OSError as error:
            problems.append(Problem(f"cannot read: {error.strerror}", file=str(path)))
            continue
        except OptbenchError as error:
            problems += error.problems
            continue
        if torn:
            message = "its last record is incomplete: `optbench run` in that folder resumes the trial"
            problems.append(Problem(message, file=str(path)))
        trials.append(Trial((log.id, log.attempt), log.config_id, path, log.was_alone, log.started))
    aside = []
    for path in record_paths(suite.path, "superseded"):
        try:
            if whole_lines(path):
                read_log(path)
                aside.append(path)
        except OSError as error:
            problems.append(Problem(f"cannot read: {error.strerror}; {_REMOVE}", file=str(path)))
        except OptbenchError as error:
            problems += [replace(p, message=f"{p.message}; {_REMOVE}") for p in error.problems]
    if problems:
        raise OptbenchError(*problems)
    return Source(suite.path, suite.plan, tuple(trials), tuple(aside))


def whole_lines(path: Path) -> bytes:
    """Return the records of a file, without an incomplete last one. Raises `OSError`."""
    content = read_record(path)
    return content[: content.rfind(b"\n") + 1]


def disagreements(sources: Sequence[Source], *, allow_mixed: bool) -> list[Problem]:
    """Return a problem for each suite that differs in more than its seeds, and for different environments."""
    planned = [(source, source.plan) for source in sources if source.plan is not None]
    problems = []
    for (first, ours), (source, theirs) in zip(planned[:1] * len(planned[1:]), planned[1:], strict=True):
        unlike = _plan_differences(ours, theirs)
        if unlike:
            message = f"not the same suite as in {first.path}: {'; '.join(unlike)}"
            problems.append(Problem(message, file=str(source.path)))
    if not allow_mixed:
        problems += _mixed(sources)
    return problems


def chosen(sources: Sequence[Source]) -> tuple[list[Trial], list[Problem]]:
    """Return each attempt of each trial once: the longest file, if all others are prefixes of it."""
    found: dict[tuple[str, int], Trial] = {}
    problems = []
    for source in sources:
        for trial in source.trials:
            known = found.setdefault(trial.key, trial)
            if known is trial:
                continue
            a, b = known.content(), trial.content()
            if a.startswith(b):
                continue
            if b.startswith(a):
                found[trial.key] = trial
                continue
            message = f"the same trial as {known.path}, with different records, so it ran twice: move one of the two files away"
            problems.append(Problem(message, file=str(trial.path)))
    return list(found.values()), problems


def joined_plan(name: str, sources: Sequence[Source]) -> Plan | None:
    """Return the first plan with the rows and seeds of all; `provenance.merged` lists the sources."""
    plans = [source.plan for source in sources if source.plan is not None]
    if not plans:
        return None
    first = plans[0]
    seeds = tuple(dict.fromkeys(seed for plan in plans for seed in plan.seeds))
    seeds = tuple(sorted(seeds)) if all(list(plan.seeds) == sorted(plan.seeds) for plan in plans) else seeds
    rows: dict[str, Row] = {}
    for row in (row for plan in plans for row in plan.rows):
        known = rows.setdefault(row.config_id, row)
        if known.seeds is not None and row.seeds is not None:
            rows[row.config_id] = replace(known, seeds=tuple(sorted({*known.seeds, *row.seeds})))
    order = dict.fromkeys(row.config_id for plan in plans for row in plan.rows)
    resolved = first.resolved | ({"seeds": list(seeds)} if "seeds" in first.resolved else {})
    commands = dict.fromkeys(plan.command for plan in plans if plan.command)
    origins = [origin for source in sources for origin in _origins(source)]
    distinct = list({repr(origin): origin for origin in origins}.values())
    provenance = first.provenance | ({"merged": distinct} if len(distinct) > 1 else {})
    return replace(
        first,
        suite=name,
        rows=tuple(rows[config_id] for config_id in order),
        seeds=seeds,
        resolved=resolved,
        command=" && ".join(commands),
        provenance=provenance,
        metrics={metric: facts for plan in reversed(plans) for metric, facts in plan.metrics.items()},
    )


def _origins(source: Source) -> Iterator[dict[str, Any]]:
    plan = source.plan
    if plan is None:
        yield {"trials": len(source.trials)}
        return
    if "merged" in plan.provenance:
        yield from plan.provenance["merged"]
        return
    started = next((trial.started for trial in source.trials if trial.started is not None), None)
    facts = started.environment if started is not None else {}
    machine = {key: facts[key] for key in ("host", *FINGERPRINT) if key in facts}
    measured = {"command": plan.command, "seeds": list(plan.seeds), "trials": len(source.trials)}
    yield {**measured, "environment": machine, **plan.provenance}


def _plan_differences(ours: Plan, theirs: Plan) -> list[str]:
    found = _differences("", _without_seeds(ours), _without_seeds(theirs))
    known = {_entry(row.trial): row.config_id for row in ours.rows}
    other = [row for row in theirs.rows if known.get(_entry(row.trial), row.config_id) != row.config_id]
    if not found and other:
        labels = ", ".join(dict.fromkeys(str(row.trial.get("label")) for row in other))
        found = [f"{labels}: a file that it uses, or its data, differs (the config ids differ)"]
    origins = [plan.provenance.get("imported") for plan in (ours, theirs)]
    if origins[0] != origins[1]:
        found.append(f"imported from {origins[0]} there and {origins[1]} here")
    more = [f"and {len(found) - _SHOWN} keys more"] if len(found) > _SHOWN else []
    return found[:_SHOWN] + more


def _without_seeds(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value in plan.resolved.items() if key != "seeds"}


def _entry(trial: dict[str, Any]) -> str:
    """Return what identifies a row, without the content of its files."""
    return repr([(key, trial.get(key)) for key in sorted(trial) if key not in ("sources", "seed")])


def _differences(path: str, ours: Any, theirs: Any) -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = dict.fromkeys([*ours, *theirs])
        return [
            found
            for key in keys
            for found in _differences(f"{path}.{key}".lstrip("."), ours.get(key), theirs.get(key))
        ]
    if ours == theirs:
        return []
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [pair for pair in enumerate(zip(ours, theirs, strict=True)) if isinstance(pair[1][0], dict)]
        if pairs:
            return [found for index, (a, b) in pairs for found in _differences(f"{path}.{index}", a, b)]
    path = _UNWRITTEN.sub("", path)
    if isinstance(ours, dict) or isinstance(theirs, dict):
        return [
            f"{path} is only {'there' if theirs is None else 'here' if ours is None else 'in another form'}"
        ]
    return [f"{path} is {as_text(ours)} there and {as_text(theirs)} here"]


def _mixed(sources: Sequence[Source]) -> list[Problem]:
    seen: dict[str, dict[str, Path]] = {}
    for source in sources:
        for trial in source.trials:
            if trial.started is None:
                continue
            for key in FINGERPRINT:
                # trials that run at the same time share the cores, among any number of slots
                if key in trial.started.environment and (key != "threads" or trial.was_alone):
                    value = repr(trial.started.environment[key])
                    seen.setdefault(key, {}).setdefault(value, trial.path)
    return [
        Problem(
            f"measured in different environments: {key} is "
            + " and ".join(f"{value} ({path})" for value, path in values.items())
            + ". One table would mix their numbers: --allow-mixed accepts this, and the report shows a warning"
        )
        for key, values in seen.items()
        if len(values) > 1
    ]
