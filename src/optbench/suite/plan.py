"""Plan the trials of a loaded suite, in running order."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

from optbench.errors import OptbenchError
from optbench.plurals import counted
from optbench.suite.axes import cell_name
from optbench.suite.code_reference import file_and_name
from optbench.suite.load import Loaded
from optbench.suite.nested_optimizers import names_in
from optbench.suite.samplers import Units, trial_units
from optbench.suite.scaling import is_scaled, scaled_rate
from optbench.suite.spaces import Point, Space, point_at, spaces_of
from optbench.suite.sweep import Extensions, is_point_of_entry, point_of_entry, points
from optbench.suite.tuning import trial_seed
from optbench.suite.types import Duration, Optimizer, Suite, Trial, Workload

MAX_SWEPT = 100_000

#: settings that tuning selected, by name of the workload, label and number of the study
Winners = Mapping[tuple[str, str, int], Point]
#: (a cell, the name of its workload) -> the entries that cannot be stacked, with the reasons
WhyPlain = Callable[[Loaded, str], Mapping[str, str]]
#: (a tuning trial) -> its score, the lower the better; infinite for the worst outcome, None if it has not ended
Score = Callable[[Trial], float | None]


def plan(
    loaded: Loaded,
    extended: Extensions | None = None,
    why_plain: WhyPlain | None = None,
    winners: Winners | None = None,
    score: Score | None = None,
) -> tuple[Trial, ...]:
    """Return all trials: by seed, then by workload, with the entries in alternating order (A B C C B A); sweeps are last.

    Entries with search spaces have their tuning trials; their other trials are planned with the settings in `winners`: with several
    studies, seed i of the suite has the settings of study i modulo the number of studies. `score` returns the results of tuning trials,
    from which adaptive samplers derive the next one; without it, only the trials that do not depend on results are planned.

    The order balances the effect of a machine whose speed drifts over all entries. `extended` contains the extensions of the
    grids; `why_plain` determines which trials are stacked (none by default): the sweep of a workload if all its entries can be, since
    their curves are compared; tuning trials by entry, since they are compared within a study. Raises `OptbenchError` if a referenced file
    cannot be read, or a grid cannot be applied to an entry.
    """
    hashes = _Hashes(loaded)
    rows: dict[str, list[list[Trial]]] = {}  # by workload, then by study
    swept: dict[str, list[list[Trial]]] = {}
    tuned: list[Trial] = []
    tuned_labels = {label for label, entry in loaded.suite.optimizers.items() if entry.is_tuned}
    for cell in loaded.cells:
        for name in cell.loaded.suite.workloads:
            unique = cell_name(name, cell.values)
            names = {"workload_name": unique, "axes": cell.values}
            tuning = cell.loaded.suite.tuning
            studies = tuning.studies if tuning is not None else 1
            if tuning is not None:
                plain = (
                    [why_plain(one, name) for one in representatives(cell.loaded)]
                    if why_plain
                    else [tuned_labels]
                )
                stacked_labels = tuned_labels.difference(*plain)
                tuned += _tuning_trials(
                    cell.loaded, name, hashes, names, score or (lambda _: None), stacked_labels
                )
            rows[unique] = [
                [
                    _with_changes(row, **names, selected_by=study if row.label in tuned_labels else None)
                    for row in _rows(_with_winners(cell.loaded, unique, winners or {}, study), name, hashes)
                ]
                for study in range(studies)
            ]
            of_cell = _with_winners(cell.loaded, unique, winners or {}, study=0)
            stacked = (
                why_plain is not None and bool(of_cell.suite.sensitivity) and not why_plain(of_cell, name)
            )
            of_sweep = _sweep_trials(of_cell, name, hashes, extended or {}, stacked=stacked)
            swept[unique] = [[_with_changes(row, **names) for row in of_sweep]]
    return (*_in_order(rows, loaded.suite.seeds), *_in_order(swept, loaded.suite.seeds), *tuned)


def representatives(loaded: Loaded, positions: Sequence[float] = (0.5,)) -> tuple[Loaded, ...]:
    """Return suites with a value of every search space in its place, for checks of everything else.

    For each position from 0 to 1, continuous spaces have their value there, and together the suites have every option of every choice.
    """
    suite = loaded.suite
    if not any(entry.is_tuned for entry in suite.optimizers.values()):
        return (loaded,)
    choices = [
        len(space.values)
        for entry in suite.optimizers.values()
        for spaces in spaces_of([rule.arguments for rule in entry.rules]).values()
        for space in spaces
        if space.kind == "choice"
    ]
    suites = []
    for position, option in itertools.product(positions, range(max(choices, default=1))):

        def choose(_: int, space: Space, position: float = position, option: int = option) -> float:
            last = len(space.values) - 1
            return (min(option, last) + 0.5) / (last + 1) if space.kind == "choice" else position

        entries = {
            label: entry.with_point(point_at([rule.arguments for rule in entry.rules], choose))
            for label, entry in suite.optimizers.items()
        }
        suites.append(replace(loaded, suite=suite.model_copy(update={"optimizers": entries})))
    return tuple(suites)


def _with_winners(loaded: Loaded, workload_name: str, winners: Winners, study: int) -> Loaded:
    """Return the suite with the settings that a study selected, without the entries for which it is not complete."""
    suite = loaded.suite
    entries = {
        label: entry.with_point(winners[workload_name, label, study]) if entry.is_tuned else entry
        for label, entry in suite.optimizers.items()
        if not entry.is_tuned or (workload_name, label, study) in winners
    }
    if entries == suite.optimizers:
        return loaded
    return replace(loaded, suite=suite.model_copy(update={"optimizers": entries}))


def _tuning_trials(
    loaded: Loaded,
    workload_name: str,
    hashes: _Hashes,
    names: Mapping[str, Any],
    score: Score,
    stacked_labels: Collection[str],
) -> list[Trial]:
    """Return the tuning trials of all entries with search spaces, point by point: a study that is stopped has tried all entries."""
    tuning = loaded.suite.tuning
    assert tuning is not None
    open_studies = [
        _OpenStudy(
            loaded,
            workload_name,
            label,
            study,
            hashes,
            {**names, "engine": "stacked" if label in stacked_labels else "plain"},
        )
        for study in range(tuning.studies)
        for label, entry in loaded.suite.optimizers.items()
        if entry.is_tuned
    ]
    trials, studies = [], open_studies
    while open_studies:
        next_trials = [(study, study.next_trial(score)) for study in open_studies]
        open_studies = [study for study, trial in next_trials if trial is not None]
        trials += [trial for _, trial in next_trials if trial is not None]
    kept = {trial.id for study in studies for trial in study.kept_trials(score)}
    return [_with_changes(trial, rung=None) if trial.id in kept else trial for trial in trials]


class _OpenStudy:
    """A tuning study of one entry, as far as it is planned."""

    def __init__(
        self,
        loaded: Loaded,
        workload_name: str,
        label: str,
        number: int,
        hashes: _Hashes,
        common: Mapping[str, Any],
    ) -> None:
        assert loaded.suite.tuning is not None
        self._loaded, self._workload_name, self._label, self._hashes = loaded, workload_name, label, hashes
        self._tuning, self._entry = loaded.suite.tuning, loaded.suite.optimizers[label]
        self._number, self._common = number, {**common, "study": number}
        self._scores: list[tuple[Units, float | None]] = []
        self._trials: list[Trial] = []
        self._drawn: dict[str, int] = {}  # how often a point was drawn

    def next_trial(self, score: Score) -> Trial | None:
        """Plan the next trial. Return None if the study has no further trial, or none before others have ended."""
        arguments = [rule.arguments for rule in self._entry.rules]
        tuning = self._tuning
        try:
            units = trial_units(tuning, arguments, self._number, len(self._scores), self._scores)
        except ValueError as error:
            raise OptbenchError(self._loaded.problem_at(("optimizers", self._label), str(error))) from None
        if units is None:
            return None
        point = self._entry.point(units)
        key = json.dumps(point, sort_keys=True, default=repr)
        repeat = self._drawn[key] = self._drawn.get(key, -1) + 1
        trial = self._trial(point, repeat, tuning.prune.rung if tuning.prune is not None else None)
        self._scores.append((units, score(trial) if tuning.is_adaptive else None))
        self._trials.append(trial)
        return trial

    def kept_trials(self, score: Score) -> list[Trial]:
        """Return the trials that are not pruned; empty before all trials have reached the rung."""
        prune = self._tuning.prune
        scores = [score(trial) for trial in self._trials] if prune is not None else []
        if prune is None or None in scores:
            return []
        ranked = sorted(range(len(scores)), key=lambda number: (scores[number], number))
        kept = sorted(number for number in ranked[: prune.kept(len(scores))] if scores[number] != math.inf)
        return [self._trials[number] for number in kept]

    def _trial(self, point: Point, repeat: int, rung: float | None) -> Trial:
        suite, tuning = self._loaded.suite, self._tuning
        entries = {**suite.optimizers, self._label: self._entry.without_spaces()}
        loaded = replace(self._loaded, suite=suite.model_copy(update={"optimizers": entries}))
        row = _row(loaded, self._workload_name, self._label, self._hashes, tuning.budget)
        entry = merged(suite, self._entry.with_point(point))
        sources = self._hashes.of(self._workload_name, row.workload, self._label, entry)
        seed = trial_seed(self._number, repeat)
        changes = {"point": point, "repeat": repeat, "rung": rung, "seed": seed, "sources": sources}
        return _with_changes(row, **self._common, **changes)


def horizons_of(suite: Suite, entry: Optimizer) -> tuple[Duration, ...]:
    """Return the training lengths of the entry, one trial each; empty if it only runs for the workload's budget."""
    if entry.horizons is not None:
        return entry.horizons
    return () if entry.horizon is not None else suite.horizons


def merged(suite: Suite, entry: Optimizer) -> Optimizer:
    """Return the entry with the suite's settings where it sets none. Settings that it sets to null stay off."""
    explicit = entry.model_fields_set
    shared = {
        "schedule": suite.schedule,
        "clip": suite.clip,
        "ema": suite.ema,
        "no_weight_decay": suite.no_weight_decay,
    }
    inherited = {key: value for key, value in shared.items() if key not in explicit}
    if entry.schedule is None:
        inherited["schedule"] = (
            suite.schedule if "schedule" not in explicit else type(suite.schedule)(name="constant")
        )
    if entry.no_weight_decay is None and "no_weight_decay" in explicit:
        inherited["no_weight_decay"] = ()
    return entry.model_copy(update=inherited)


def with_numeric_rates(entry: Optimizer, batch_size: int | Literal["full"]) -> Optimizer:
    """Return the entry with scaled learning rates as numbers; unchanged for `full`, whose size is not known here."""
    if batch_size == "full" or not any(is_scaled(rule.arguments.get("lr")) for rule in entry.rules):
        return entry
    rules = [
        rule.model_copy(update={"arguments": rule.arguments | {"lr": scaled_rate(lr, batch_size)}})
        if is_scaled(lr := rule.arguments.get("lr"))
        else rule
        for rule in entry.rules
    ]
    return entry.model_copy(update={"rules": tuple(rules)})


def _in_order(rows: Mapping[str, Sequence[Sequence[Trial]]], seeds: Sequence[int]) -> Iterator[Trial]:
    """Yield the trials of all seeds. `rows`: the first trials of the rows by workload, for each study in turn."""
    for position, seed in enumerate(seeds):
        for by_study in rows.values():
            row = by_study[position % len(by_study)]
            for first in row if position % 2 == 0 else reversed(row):
                yield first.with_seed(seed)


def _rows(loaded: Loaded, workload_name: str, hashes: _Hashes) -> list[Trial]:
    """Return the trial with the first seed of every row of the timed table, shortest horizons first."""
    suite = loaded.suite
    rows = [
        (horizon, label)
        for label, entry in suite.optimizers.items()
        for horizon in horizons_of(suite, entry) or (None,)
    ]
    rows.sort(key=lambda row: row[0].value if row[0] is not None else 0.0)  # stable: labels keep their order
    return [_row(loaded, workload_name, label, hashes, horizon) for horizon, label in rows]


def _sweep_trials(
    loaded: Loaded, workload_name: str, hashes: _Hashes, extended: Extensions, *, stacked: bool
) -> list[Trial]:
    """Return the trial with the first seed of every point of a sweep, over the workload's budget.

    The point equal to the entry is its timed trial and is not repeated, except in a stacked sweep: a curve uses one engine.
    """
    suite, trials = loaded.suite, []
    for label, entry in suite.optimizers.items() if suite.sensitivity else ():
        entry = with_numeric_rates(entry, entry.batch_size or suite.workloads[workload_name].batch_size)
        lengths = horizons_of(suite, entry)
        timed = not lengths or suite.workloads[workload_name].budget in lengths
        try:
            entry_points = points(
                suite.sensitivity, entry, extended, with_point_of_entry=stacked or not timed
            )
            if stacked and not any(is_point_of_entry(point, entry) for point in entry_points):
                entry_points.append(point_of_entry(suite.sensitivity, entry))
        except ValueError as error:
            raise OptbenchError(loaded.problem_at(("optimizers", label), f"sensitivity: {error}")) from None
        if len(entry_points) * len(suite.seeds) > MAX_SWEPT:
            size = f"{counted(len(entry_points), 'point')} x {counted(len(suite.seeds), 'seed')}"
            message = f"expected at most {MAX_SWEPT:,} trials per entry; found {size}"
            raise OptbenchError(loaded.problem_at(("sensitivity",), message))
        row = _row(loaded, workload_name, label, hashes)
        engine = "stacked" if stacked else "plain"
        trials += [_with_changes(row, point=point, engine=engine) for point in entry_points]
    return trials


def _row(
    loaded: Loaded, workload_name: str, label: str, hashes: _Hashes, horizon: Duration | None = None
) -> Trial:
    suite = loaded.suite
    workload, entry = suite.workloads[workload_name], merged(suite, suite.optimizers[label])
    entry = with_numeric_rates(entry, entry.batch_size or workload.batch_size)
    if horizon is not None:
        workload = workload.model_copy(update={"budget": horizon})
    if workload.init is None and suite.init.name != "model":
        workload = workload.model_copy(update={"init": suite.init})
    trial = Trial(
        suite=loaded.name,
        workload_name=workload_name,
        workload=workload,
        label=label,
        entry=entry.model_copy(update={"horizons": None}),
        seed=suite.seeds[0],
        precision=suite.precision,
        implementation=suite.implementation,
        cuda_graph=suite.cuda_graph,
        timed=suite.timed,
        sources=hashes.of(workload_name, workload, label, entry),
        folder=str(loaded.folder.resolve()),
    )
    assert trial.config_id  # cached: computed once for all seeds of the row
    return trial


def _with_changes(first: Trial, **changes: Any) -> Trial:
    trial = first.model_copy(update=changes)
    assert trial.config_id  # cached: computed once for all seeds of the row
    return trial


class _Hashes:
    """SHA-256 of the Python files that a suite refers to; each is read once."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.known: dict[str, str] = {}

    def of(self, workload_name: str, workload: Workload, label: str, entry: Optimizer) -> dict[str, str]:
        """Return the hashes by path relative to the suite's folder."""
        sources = {}
        for path, name in _code_references(workload_name, workload, label, entry):
            reference = file_and_name(name)
            if reference and (_is_code(path) or (self.loaded.folder / reference[0]).is_file()):
                file = PurePosixPath(reference[0].replace("\\", "/")).as_posix()
                sources[file] = self._hash(file, path)
        return dict(sorted(sources.items()))

    def _hash(self, file: str, path: tuple[str | int, ...]) -> str:
        if file not in self.known:
            try:
                content = (self.loaded.folder / file).read_bytes()
            except OSError as error:
                message = f"cannot read '{file}' in {self.loaded.folder}: {error.strerror}"
                raise OptbenchError(self.loaded.problem_at(path, message)) from None
            self.known[file] = hashlib.sha256(content).hexdigest()
        return self.known[file]


def _is_code(path: tuple[str | int, ...]) -> bool:
    """Return whether a text at this path must name code; other arguments may be any text."""
    return "arguments" not in path or path[-1] == "use"


def _code_references(
    workload_name: str, workload: Workload, label: str, entry: Optimizer
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every reference of a trial to code, with its typed path."""
    here = ("workloads", workload_name)
    yield (*here, "model", "name"), workload.model.name
    yield (*here, "data", "name"), workload.data.name
    yield (*here, "loss", "name"), workload.loss.name
    if workload.init is not None:
        yield (*here, "init", "name"), workload.init.name
    for position, metric in enumerate(workload.metrics):
        keys: tuple[str | int, ...]
        keys = ("own_metrics", metric) if metric in workload.own_metrics else ("metrics", position)
        yield (*here, *keys), workload.metric_code(metric)
    for position, rule in enumerate(entry.rules):
        of_rule = ("optimizers", label, "rules", position)
        yield (*of_rule, "use"), rule.use
        for keys, text in names_in(rule.arguments):
            yield (*of_rule, "arguments", *keys), text
    if entry.schedule is not None:
        yield ("optimizers", label, "schedule", "name"), entry.schedule.name
