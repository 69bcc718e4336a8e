"""Print the plan of a run: trials, rows, finished trials, and an estimate of the remaining time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optbench.catalog.stackable import why_plain, why_workload_plain
from optbench.cli.live.board import Key, key_of
from optbench.cli.live.times import DurationEstimates, duration
from optbench.console import wrapped
from optbench.plurals import counted
from optbench.runner.several_nodes import notes_on_nodes
from optbench.store import StoredSuite, TrialLog
from optbench.suite.axes import cell_name
from optbench.suite.load import Loaded
from optbench.suite.plan import representatives
from optbench.suite.types import Trial


def show_plan(loaded: Loaded, wanted: Sequence[Trial], stored: StoredSuite) -> None:
    """Print rows, trials, finished trials and the estimated time of the remaining ones."""
    logs = stored_logs(stored)
    done = {trial.id for trial in wanted if trial.id in logs and logs[trial.id].has_ended(trial.rung)}
    pending = [trial for trial in wanted if trial.id not in done]
    estimate = forecast(logs, wanted, pending)
    print(
        wrapped(
            f"{loaded.name}: {count(wanted)}; {len(done)} done, {len(pending)} to run; {estimate}", indent=2
        )
    )
    rows: dict[Key, list[Trial]] = {}
    for trial in wanted:
        rows.setdefault(key_of(trial), []).append(trial)
    for (workload, label, budget, swept), trials in rows.items():
        first = trials[0]
        finished = sum(trial.id in done for trial in trials)
        if swept:
            points = len({trial.config_id for trial in trials})
            kind = "tuning" if first.study is not None else "sweep"
            studies = len({trial.study for trial in trials})
            kind = f"{studies} tuning studies" if studies > 1 else kind
            size = counted(points, "point")
            tuning = loaded.suite.tuning
            if first.study is not None and tuning is not None and tuning.is_adaptive and tuning.trials:
                wanted_points = tuning.trials * tuning.studies
                if points < wanted_points:
                    size = f"{points} of {wanted_points} points (results determine the others)"
            line = (
                f"  {workload} | {label}: {kind} of {', '.join(first.point)}, {size}, {budget}{_engine(first)}; "
                f"{finished} of {len(trials)} done"
            )
            print(wrapped(line, indent=4))
            continue
        uses = " + ".join(rule.use for rule in first.entry.rules)
        schedule = first.entry.schedule.name if first.entry.schedule else "constant"
        facts = f"{uses}, {schedule}, {budget}, batch {first.batch_size}"
        print(
            wrapped(
                f"  {workload} | {label}: {facts}; {finished} of {counted(len(trials), 'seed')} done",
                indent=4,
            )
        )
    for line in [*notes_on_nodes(loaded), *_not_stacked(loaded, wanted)]:
        print(wrapped(f"  {line}", indent=4))


def _engine(trial: Trial) -> str:
    return ", stacked" if trial.engine == "stacked" else ""


def _not_stacked(loaded: Loaded, wanted: Sequence[Trial]) -> Iterator[str]:
    """Yield for each sweep and tuning on a workload which entries run with one process per trial, and why."""
    engines: dict[tuple[str, str], dict[str, str]] = {}
    for trial in wanted:
        if trial.point:
            kind = "sweep" if trial.study is None else "tuning"
            engines.setdefault((trial.workload_name, kind), {})[trial.label] = trial.engine
    for cell in loaded.cells:
        for name in cell.loaded.suite.workloads:
            workload = cell_name(name, cell.values)
            for kind in ("sweep", "tuning"):
                by_label = engines.get((workload, kind), {})
                if "plain" in by_label.values():
                    yield f"{kind} on {workload}: not stacked: {_why_not_stacked(cell.loaded, name, by_label)}"


def _why_not_stacked(loaded: Loaded, workload_name: str, engines: Mapping[str, str]) -> str:
    """Return why not all entries of a sweep or tuning are stacked. `engines`: by label."""
    suites = representatives(loaded)
    if reason := why_workload_plain(suites[0], workload_name):
        return reason
    reasons = {label: why for one in suites for label, why in why_plain(one, workload_name).items()}
    plain = [label for label in reasons if engines.get(label) == "plain"] or list(reasons)
    which = f"'{plain[0]}', which {reasons[plain[0]]}"
    if len(engines) == 1:
        return which
    all_plain = (
        "" if "stacked" in engines.values() or len(plain) == len(engines) else "all entries, because of "
    )
    return f"{all_plain}{len(plain)} of {len(engines)} entries, such as {which}"


def count(trials: Sequence[Trial]) -> str:
    """Return for example "12 trials (4 optimizers x 3 seeds) and 40 tuning trials"."""
    tuning = [trial for trial in trials if trial.study is not None]
    swept = sum(bool(trial.point) for trial in trials) - len(tuning)
    timed = [trial for trial in trials if not trial.point]
    others = [
        f"{n} {word} trial{'s' * (n != 1)}" for n, word in ((len(tuning), "tuning"), (swept, "sweep")) if n
    ]
    if others and (timed or tuning):
        return " and ".join([count(timed), *others] if timed else others)
    cells = [len({getattr(trial, name) for trial in trials}) for name in ("workload_name", "label", "seed")]
    words = [
        f"{n} {word}{'s' * (n != 1)}"
        for n, word in zip(cells, ("workload", "optimizer", "seed"), strict=True)
    ]
    horizons = len(
        {str(trial.workload.budget) for trial in trials if trial.workload_name == trials[0].workload_name}
    )
    if horizons > 1:
        words.insert(2, f"{horizons} horizons")
    shown = words[1:] if cells[0] == 1 else words
    return f"{len(trials)} trial{'s' * (len(trials) != 1)} ({' x '.join(shown)})"


def stored_logs(stored: StoredSuite) -> dict[str, TrialLog]:
    """Return the stored logs by trial id, without unreadable files, which are reported when their trial runs."""
    return {log.id: log for log in stored.read().suites[0].logs}


def forecast(logs: Mapping[str, TrialLog], wanted: Sequence[Trial], pending: Sequence[Trial]) -> str:
    """Return the estimated time of the pending trials as text, from complete trials."""
    if not pending:
        return "no trial pending"
    durations = DurationEstimates()
    for trial in wanted:
        end = logs[trial.id].finished if trial.id in logs and logs[trial.id].has_ended(trial.rung) else None
        if end is not None:
            durations.add(trial, end)
    seconds = durations.total(pending)
    return f"about {duration(seconds)}" if seconds else "no time estimate until a trial has finished"
