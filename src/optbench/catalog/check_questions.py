"""Check sweeps, horizons and published rows of a suite."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from optbench.catalog import lookup
from optbench.catalog.arguments import Finding
from optbench.catalog.signatures import signature
from optbench.errors import OptbenchError, nearest
from optbench.plurals import counted
from optbench.suite import protocols
from optbench.suite.load import Loaded
from optbench.suite.plan import horizons_of, representatives, with_numeric_rates
from optbench.suite.quantities import unknown_quantity
from optbench.suite.samplers import check_grid
from optbench.suite.statements import Candidate, problem_of, problem_of_any, problem_over
from optbench.suite.sweep import point_of_entry, points
from optbench.suite.tuning import TIME_TO_TARGET, TUNING_SEED, Tuning, pause_after
from optbench.suite.types import Suite, Workload


def question_findings(suite: Suite, folder: Path) -> Iterator[Finding]:
    yield from _published_findings(suite)
    if suite.final == "best_validation" and any(w.relabel is not None for w in suite.workloads.values()):
        message = "with 'relabel', the best weights may belong to earlier labels; expected 'last'"
        yield ("final",), message
    yield from _horizon_findings(suite)
    if suite.sensitivity:
        yield from _sensitivity_findings(suite, folder)


def _published_findings(suite: Suite) -> Iterator[Finding]:
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


def statement_findings(loaded: Loaded) -> Iterator[Finding]:
    """Check the tests of published statements: their quantities, and that each selection matches exactly one row of trials."""
    suite = loaded.suite
    candidates = _candidates(loaded) if any(row.tests for row in suite.published) else []
    for position, row in enumerate(suite.published):
        for number, test in enumerate(row.tests):
            path = ("published", position, "tests", number)
            metrics = tuple(dict.fromkeys(name for w in suite.workloads.values() for name in w.metrics))
            if problem := unknown_quantity(test.quantity, metrics):
                yield (*path, "quantity"), problem
            workloads = [test.of["workload"]] if "workload" in test.of else list(suite.workloads)
            for key, selection in test.selections.items():
                for workload in workloads:
                    wanted = {"workload": workload, **test.of, **selection}
                    if test.predicts is not None:
                        problem = problem_of_any(wanted, candidates)
                    elif test.over is not None:
                        problem = problem_over(wanted, test.over, candidates)
                    else:
                        problem = problem_of(wanted, candidates)
                    if problem:
                        yield (*path, key), problem
                        break


def _candidates(loaded: Loaded) -> list[Candidate]:
    found = []
    for cell in loaded.cells:
        suite = representatives(cell.loaded)[0].suite
        for workload, settings in suite.workloads.items():
            for label, entry in suite.optimizers.items():
                entry = with_numeric_rates(entry, entry.batch_size or settings.batch_size)
                own = point_of_entry(suite.sensitivity, entry)
                for horizon in horizons_of(suite, entry) or (entry.horizon or settings.budget,):
                    found.append(Candidate.of(label, workload, str(horizon), cell.values, {}, own))
                try:
                    swept = points(suite.sensitivity, entry) if suite.sensitivity else []
                except ValueError:
                    continue  # already reported
                length = str(entry.horizon or settings.budget)
                found += [Candidate.of(label, workload, length, cell.values, point, {}) for point in swept]
    return found


def tuning_findings(suite: Suite) -> Iterator[Finding]:
    """Check that search spaces and `tuning` occur together, and that the selection metric is measured."""
    tuned = [label for label, entry in suite.optimizers.items() if entry.is_tuned]
    if suite.tuning is None:
        for label in tuned:
            yield ("optimizers", label), "search spaces require 'tuning', as in tuning: {trials: 20}"
        return
    named = protocols.protocol(suite.tuning.protocol) if suite.tuning.protocol is not None else None
    if named is not None and not named.search_spaces:
        for label in tuned:
            message = f"the protocol '{suite.tuning.protocol}' has no search spaces: expected values"
            yield ("optimizers", label), message
    elif not tuned:
        yield ("tuning",), "no entry has a search space, as in lr: {log: [1e-4, 1e-1]}"
    if (last := max(suite.seeds)) >= TUNING_SEED:
        message = (
            f"expected seeds below {TUNING_SEED}: tuning trials use the seeds from there on; found {last}"
        )
        yield ("seeds",), message
    if suite.tuning.studies > len(suite.seeds):
        numbers = f"{suite.tuning.studies} studies and {counted(len(suite.seeds), 'seed')}"
        message = f"expected at most as many studies as seeds: each trains its settings on its own seeds; found {numbers}"
        yield ("tuning", "studies"), message
    yield from _sampler_findings(suite, tuned)
    metric = suite.tuning.metric
    for name, workload in suite.workloads.items():
        known = (*workload.metrics, "loss", TIME_TO_TARGET)
        if metric is not None and metric not in known:
            message = f"the workload '{name}' has no metric '{metric}'; {nearest(metric, known)}"
            yield ("tuning", "select", "metric"), message
        if metric == TIME_TO_TARGET and (not workload.target or workload.target[0].split == "test"):
            message = f"expected a target on the validation split in the workload '{name}', as in target: {{at_least: 0.9}}"
            yield ("tuning", "select", "metric"), message
        if suite.tuning.budget is None and workload.budget.unit == "seconds":
            message = "a budget in seconds would make the selection depend on the machine: set 'budget' in epochs or steps"
            yield ("tuning",), message
        yield from _tuning_budget_findings(suite.tuning, name, workload)
    for label in tuned if suite.horizons else ():
        message = "horizons are not available for entries with search spaces: set 'horizons: []'"
        yield ("optimizers", label), message


def _tuning_budget_findings(tuning: Tuning, name: str, workload: Workload) -> Iterator[Finding]:
    """Check the budget of tuning trials, and that a pause for pruning is before its end. Different units are not compared."""
    budget, every = tuning.budget or workload.budget, workload.evaluate.every
    if budget.unit == workload.budget.unit and budget.value > workload.budget.value:
        message = f"expected at most the budget of the workload '{name}', {workload.budget}; found {budget}"
        yield ("tuning", "budget"), message
    if tuning.prune is None or budget.unit != every.unit:
        return
    if pause_after(tuning.prune.rung, budget, every) >= budget.value:
        message = (
            f"trials of the workload '{name}' are compared at the first evaluation after {tuning.prune.rung:g} x {budget}, which is the "
            f"last one: expected evaluations more often than every {every} ('evaluate') or an earlier rung"
        )
        yield ("tuning", "prune", "rung"), message


def _sampler_findings(suite: Suite, tuned: list[str]) -> Iterator[Finding]:
    assert suite.tuning is not None
    if suite.tuning.is_adaptive and importlib.util.find_spec("optuna") is None:
        message = f"the sampler '{suite.tuning.sampler}' requires Optuna: pip install 'optbench[tune]'"
        yield ("tuning", "sampler"), message
    for label in tuned if suite.tuning.sampler == "grid" else ():
        try:
            check_grid([rule.arguments for rule in suite.optimizers[label].rules])
        except ValueError as error:
            yield ("optimizers", label), str(error)


def _horizon_findings(suite: Suite) -> Iterator[Finding]:
    for label, entry in suite.optimizers.items():
        if suite.horizons and entry.horizon is not None and entry.horizons is None:
            message = "the 'horizons' of the suite override this length; add 'horizons: []' to this entry to keep it"
            yield ("optimizers", label, "horizon"), message


def _sensitivity_findings(suite: Suite, folder: Path) -> Iterator[Finding]:
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
            continue  # already reported
        own = point_of_entry(suite.sensitivity, entry)
        for name in suite.sensitivity:
            if name not in own and name not in read.names and not read.accepts_any:
                message = f"sensitivity: '{entry.rules[0].use}' has no argument '{name}'"
                yield ("optimizers", label), f"{message}; {nearest(name, read.names)}"
