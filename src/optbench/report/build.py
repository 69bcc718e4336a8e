"""Build the report of results: its tables, notes and warnings. All numbers are computed in `optbench.analysis`."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from optbench.analysis.costs import costs_frame
from optbench.analysis.frames import plain_rows
from optbench.analysis.horizons import horizons_frame
from optbench.analysis.implementations import capture_note, compile_note, steps_ran
from optbench.analysis.inclusions import inclusions_frame
from optbench.analysis.published import verdicts_frame
from optbench.analysis.ranking import ranking_frame
from optbench.analysis.rows import TableRow, table_rows
from optbench.analysis.sensitivity import sensitivity_frame
from optbench.analysis.statements import statements_frame
from optbench.analysis.sweep_times import sweep_times_frame
from optbench.analysis.table import comparison
from optbench.analysis.tuned_entries import near_best_frame, tuned_entries_frame
from optbench.analysis.tuning import tuning_frame
from optbench.analysis.warnings import warnings_frame
from optbench.plurals import counted
from optbench.report.axes import alone, axes_block
from optbench.report.cells import comparison_columns, difference_columns, passage_columns
from optbench.report.costs import cost_blocks
from optbench.report.document import Block, Report, Section, Table
from optbench.report.horizons import horizon_blocks
from optbench.report.notes import notes
from optbench.report.profiles import summary_block
from optbench.report.published import published_blocks
from optbench.report.ranking import ranking_block
from optbench.report.sensitivity import sensitivity_blocks
from optbench.report.statements import statement_blocks
from optbench.report.text import clean
from optbench.report.tuning import TuningFrames, protocol_text, tuning_blocks, widening_command
from optbench.store import Results, SuiteResults
from optbench.suite.tuning import Tuning
from optbench.suite.types import Optimizer

_SINGLE_STUDY = (
    "Intervals and tests of the final metric include the variation of tuning, estimated from random halves of the trials; times are "
    "those of the selected settings only, and have no tests (with as many studies as seeds, each seed has its own settings)."
)
_ADAPTIVE_STUDY = (
    "No intervals and tests: the trials of one study with an adaptive sampler depend on each other, so that the variation of tuning is "
    "not known (with as many studies as seeds, each seed has its own settings)."
)
_SINGLE_TRIAL = (
    "No intervals and tests: the variation of tuning cannot be estimated from one trial (with as many studies as seeds, each seed has "
    "its own settings)."
)
_SHARED_STUDIES = (
    "Intervals and tests are of means over the seeds of each study, so that they include the variation of tuning (with as many "
    "studies as seeds, each seed has its own settings)."
)


def build(results: Results) -> Report:
    """Return the report with one section per suite and one block per workload, question and published table."""
    table = comparison(results)
    horizons = horizons_frame(results)
    verdicts, sensitivity = verdicts_frame(results), sensitivity_frame(results)
    statements, times = statements_frame(results), sweep_times_frame(results)
    studies = tuning_frame(results)
    tuning = TuningFrames(
        tuned_entries_frame(results, studies),
        near_best_frame(results),
        studies,
        inclusions_frame(results),
    )
    warnings, costs = warnings_frame(results), costs_frame(results, table)
    rankings = {
        suite.name: ranking_frame(
            suite, table[table["suite"] == suite.name], studies[studies["suite"] == suite.name]
        )
        for suite in results.suites
    }
    frames = {
        "table": table,
        "horizons": horizons,
        "sensitivity": sensitivity,
        "times": times,
        "verdicts": verdicts,
        "statements": statements,
        "warnings": warnings,
        "costs": costs,
    }
    by_suite = {key: dict(tuple(frame.groupby("suite"))) for key, frame in frames.items() if len(frame)}
    empty = {key: frame[:0] for key, frame in frames.items()}
    sections = []
    for suite in results.suites:
        rows = table_rows(Results((suite,)))
        own = empty | {key: parts[suite.name] for key, parts in by_suite.items() if suite.name in parts}
        workloads = list(dict.fromkeys(row.trial.workload_name for row in rows))
        blocks = tuple(
            _block(
                [row for row in rows if row.trial.workload_name == workload],
                own["table"][own["table"]["workload"] == workload],
                _messages(own["warnings"], workload),
                imported=_imported(suite),
                alone=len(workloads) == 1,
                tuned=_tuned(suite),
                several_studies=_seeds_share_studies(suite),
            )
            for workload in workloads
        )
        by_axes = axes_block(rows, own["table"], _messages_of_all(own["warnings"]) if alone(rows) else ())
        if by_axes is not None:
            facts = dict.fromkeys(block.measured_on for block in blocks if block.measured_on)
            by_axes = replace(by_axes, measured_on="; ".join(facts))
            blocks = (by_axes,) if alone(rows) else (by_axes, *blocks)
        blocks += tuple(tuning_blocks(tuning.of(suite=suite.name)))
        blocks += tuple(cost_blocks(own["costs"], rows))
        summary, ranking = summary_block(suite), ranking_block(rankings[suite.name])
        blocks = (*((ranking,) if ranking is not None else ()), *blocks)
        blocks += (summary,) if summary is not None else ()
        blocks += tuple(horizon_blocks(own["horizons"])) if len(own["horizons"]) else ()
        blocks += (
            tuple(sensitivity_blocks(own["sensitivity"], own["times"])) if len(own["sensitivity"]) else ()
        )
        blocks += tuple(published_blocks(own["verdicts"])) if len(own["verdicts"]) else ()
        blocks += tuple(statement_blocks(own["statements"])) if len(own["statements"]) else ()
        sections.append(_section(suite, blocks, _messages(own["warnings"], "")))
    kept = ("horizons", "sensitivity", "verdicts", "statements")
    more = {key: frames[key] for key in kept}
    more |= {"tuning": tuning.studies, "tuned_entries": tuning.entries, "near_best": tuning.near_best}
    more["ranking"] = pd.concat([f.assign(suite=name) for name, f in rankings.items()] or [pd.DataFrame()])
    return Report(
        tuple(sections),
        table,
        warnings,
        {name: frame for name, frame in more.items() if len(frame)},
        results,
    )


def _section(suite: SuiteResults, blocks: tuple[Block, ...], warnings: tuple[str, ...]) -> Section:
    resolved = suite.plan.resolved if suite.plan else {}
    return Section(
        title=clean(resolved.get("title") or suite.name),
        description=clean(resolved.get("description") or ""),
        blocks=blocks,
        warnings=warnings,
        command=clean(suite.plan.command) if suite.plan else "",
        widen=clean(widening_command(suite)),
    )


def _block(
    rows: list[TableRow],
    table: pd.DataFrame,
    warnings: tuple[str, ...],
    *,
    imported: str,
    alone: bool,
    tuned: str,
    several_studies: bool,
) -> Block:
    workload = rows[0].trial.workload
    targets = list(dict.fromkeys(table["target"]))
    first = table[table["target"] == targets[0]]
    tables = [Table.of(_caption(targets[0]), comparison_columns(first), plain_rows(first))]
    for target in targets[1:]:
        of_target = table[table["target"] == target]
        tables.append(Table.of(_caption(target), passage_columns(of_target), plain_rows(of_target)))
    if first["difference_p"].notna().any():
        others = first[~first["baseline"]]
        baseline = clean(str(first.loc[first["baseline"], "optimizer"].iloc[0]))
        metric = clean(str(first["metric"].iloc[0]))
        caption = f"Difference of the final {metric} from {baseline}, paired by seed"
        columns = difference_columns(others, "studies" if several_studies else "seeds")
        note = "Differences: p from the same tests, adjusted over all pairs of entries; the 95 % intervals are not adjusted."
        tables.append(Table.of(caption, columns, plain_rows(others), detail=True, note=note))
    facts = [
        f"{workload.model.name} on {workload.data.name}",
        f"batch size {workload.batch_size}",
        "budget " + " and ".join(dict.fromkeys(str(row.trial.workload.budget) for row in rows)),
    ]
    return Block(
        heading="" if alone else clean(rows[0].trial.workload_name),
        facts=clean(imported or ", ".join(facts)),
        tables=tuple(tables),
        notes=(*notes(first, imported=bool(imported), tuned=tuned), *compile_note(rows), *capture_note(rows)),
        warnings=warnings,
        measured_on=_measured_on(rows),
    )


def _tuned(suite: SuiteResults) -> str:
    """Return how the entries of a suite were tuned; "" if none was."""
    resolved = suite.plan.resolved if suite.plan is not None else {}
    tuning = resolved.get("tuning")
    if not tuning:
        return ""
    entries = {label: Optimizer.model_validate(entry) for label, entry in resolved["optimizers"].items()}
    fixed = [clean(label) for label, entry in entries.items() if not entry.is_tuned]
    trials = "all tuning trials" if tuning["trials"] is None else counted(tuning["trials"], "tuning trial")
    text = f"Hyperparameters: the best of {trials} per optimizer by validation, trained on fresh seeds"
    studies, seeds, uncertainty = tuning.get("studies", 1), len(resolved["seeds"]), ""
    if studies > 1:
        text += f"; in each of {studies} studies with different points, whose settings the seeds use in turn"
    if len(fixed) == len(entries):
        text, fixed = "Hyperparameters as configured", []
    elif studies < seeds:
        single = _ADAPTIVE_STUDY if Tuning.model_validate(tuning).is_adaptive else _SINGLE_STUDY
        single = _SINGLE_TRIAL if tuning["trials"] == 1 else single
        uncertainty = f" {single if studies == 1 else _SHARED_STUDIES}"
    text = f"{text}; as configured: {', '.join(fixed)}." if fixed else f"{text}."
    return f"{text}{uncertainty} {protocol_text(Tuning.model_validate(tuning), seeds)}".strip()


def _seeds_share_studies(suite: SuiteResults) -> bool:
    """Return whether several seeds use the settings of each of several studies."""
    resolved = suite.plan.resolved if suite.plan is not None else {}
    studies: int = (resolved.get("tuning") or {}).get("studies", 1)
    return 1 < studies < len(resolved.get("seeds", ()))


def _imported(suite: SuiteResults) -> str:
    """Return a statement of origin for imported results; "" for results that optbench measured."""
    origin = suite.plan.provenance.get("imported") if suite.plan is not None else None
    if origin == "algoperf":
        return (
            "Imported AlgoPerf logs; the 'seeds' are the tuning trials of all studies, each with other settings: means and tests are about "
            "the search spaces. --leaderboard compares the tuned submissions"
        )
    return f"Imported from {origin}, not measured by optbench" if origin else ""


def _caption(target: str) -> str:
    return f"Target: {clean(target)}" if target else "No target"


def _messages_of_all(warnings: pd.DataFrame) -> tuple[str, ...]:
    """Return the warnings of all workloads of a suite: shared ones once, the others with the workload's name."""
    own = warnings[warnings["workload"] != ""]
    shared = own["message"].duplicated(keep=False)
    texts = own["message"].where(shared, own["workload"] + ": " + own["message"])
    return tuple(dict.fromkeys(clean(text) for text in texts))


def _messages(warnings: pd.DataFrame, workload: str) -> tuple[str, ...]:
    return tuple(clean(message) for message in warnings.loc[warnings["workload"] == workload, "message"])


def _measured_on(rows: list[TableRow]) -> str:
    facts: dict[str, list[str]] = {}
    for log in (log for row in rows for log in row.logs):
        if log.started is None:
            continue
        found = log.started.environment | {"precision": log.started.precision}
        for name in ("device_name", "threads", "precision", "torch", "optbench"):
            value = found.get(name)
            if value is not None and str(value) not in facts.setdefault(name, []):
                facts[name].append(str(value))
    words = {"threads": "{} thread(s)", "torch": "torch {}", "optbench": "optbench {}"}
    parts = [words.get(name, "{}").format(" and ".join(values)) for name, values in facts.items()]
    parts += [ran] if (ran := steps_ran(rows)) else []
    parts += [revision] if (revision := _revision(rows)) else []
    return clean(", ".join(parts)).replace("1 thread(s)", "1 thread").replace("thread(s)", "threads")


def _revision(rows: list[TableRow]) -> str:
    """Return the git revisions of the suite's repository, and how many trials ran with uncommitted changes."""
    found = [log.started.environment for row in rows for log in row.logs if log.started is not None]
    revisions = dict.fromkeys(str(facts["git_revision"])[:8] for facts in found if facts.get("git_revision"))
    if not revisions:
        return ""
    modified = sum(bool(facts.get("git_modified")) for facts in found)
    changes = f" with uncommitted changes ({modified} of {counted(len(found), 'trial')})" if modified else ""
    return f"revision {' and '.join(revisions)}{changes}"
