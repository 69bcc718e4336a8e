"""Report of `optbench compare`: changes of the numbers, the suite and the environment, and outcomes of the gates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pandas as pd

from optbench.analysis.changes import Compared, changes_frame
from optbench.analysis.gates import Judgement, judgements_frame
from optbench.analysis.matching import Matched
from optbench.analysis.settings import (
    cautions_frame,
    differences,
    environment_changes_frame,
    one_sided_frame,
    suite_changes_frame,
)
from optbench.plurals import counted
from optbench.report.cells import Cell, Column, text_column
from optbench.report.change_cells import change_cell, change_columns, judgement_text, title_of
from optbench.report.document import Block, Report, Section, Table
from optbench.report.text import clean

Rows = dict[str, dict[Any, Any]]  # of one entry, by quantity

_TABLES = (
    ("Time", ("seconds_per_epoch", "seconds_to_target", "epochs_to_target")),
    ("Quality and memory", ("final_metric", "state_bytes", "step_peak_bytes", "peak_memory_bytes")),
)
_INSTEAD = {"seconds_per_epoch": "seconds_per_step", "epochs_to_target": "steps_to_target"}
_OUTCOMES = {
    "failed": "failed: the whole interval (Holm-adjusted over entries) is beyond the threshold",
    "inconclusive": "inconclusive: the estimate is beyond the threshold, the whole interval is not",
    "not judged": "not judged: no data to judge by, which counts as failed",
}
_NOTES = (
    "Changes from before to after; in brackets the 95 % interval. Times and bytes are ratios of geometric means, in percent of change, "
    "or as multiples (0.46x to 2.52x) where a value at least doubles. A word (faster, slower, ...) and a mark ({mark}) appear only for "
    "significant changes: the interval excludes zero and p is below 0.05, Holm-adjusted over the optimizers of a column.",
    "Seconds count training only; those of resumed trials are excluded. To target: where not all seeds reached it, means restricted "
    "to the budget, by permutation test and without interval; changes below one evaluation interval are never significant.",
)


def changes_report(
    matched: Matched, items: Sequence[Compared], judgements: Sequence[Judgement], names: tuple[str, str]
) -> Report:
    """Return the report of `items` (from `analysis.changes.compared`); `names`: display names of the folders before and after."""
    frame = changes_frame(items)
    more = {
        "suite_changes": suite_changes_frame(matched),
        "environment_changes": environment_changes_frame(matched),
        "only_in_one": one_sided_frame(matched),
        "gates": judgements_frame(judgements),
    }
    cautions = cautions_frame(matched)
    sections = []
    for pair in matched.suites:
        own = frame[frame["suite"] == pair.name]
        resolved = pair.after.plan.resolved if pair.after.plan else {}
        blocks = [
            _block(str(workload), table, cautions, alone=own["workload"].nunique() == 1)
            for workload, table in own.groupby("workload", sort=False)
        ]
        blocks += _settings(pair.name, more)
        title = clean(str(resolved.get("title") or pair.name))
        warnings = cautions[(cautions["suite"] == pair.name) & (cautions["workload"] == "")]["message"]
        sections.append(Section(title, _named(names), tuple(blocks), tuple(map(clean, warnings)), ""))
    sections += _closing(matched, more["only_in_one"], judgements, names)
    return Report(tuple(sections), frame, cautions, {k: v for k, v in more.items() if len(v)})


def _block(workload: str, frame: pd.DataFrame, cautions: pd.DataFrame, *, alone: bool) -> Block:
    several = frame["horizon"].nunique() > 1
    tables = []
    targets = [target for target in dict.fromkeys(frame["target"]) if target]
    for target in targets or [""]:
        own = frame[frame["target"].isin(["", target])]
        for caption, quantities in _TABLES:
            if caption == "Time" or target in (targets or [""])[:1]:
                said = f"{caption}, target: {clean(target)}" if target and caption == "Time" else caption
                tables += _table(said, quantities, own, several)
    tables.append(Table.of("All quantities, before and after", change_columns(several), frame, detail=True))
    preliminary = bool(frame["preliminary"].any())
    few = ("preliminary: fewer than 5 seeds on one side; at least 5 are needed for a conclusion",)
    own = cautions[(cautions["suite"] == frame["suite"].iloc[0]) & (cautions["workload"] == workload)]
    return Block(
        heading="" if alone else clean(workload),
        facts=f"{counted(len(frame.groupby(['horizon', 'optimizer'])), 'entry', 'entries')} on both sides, {_methods(frame)}",
        tables=tuple(tables),
        notes=_NOTES,
        warnings=(*(few if preliminary else ()), *map(clean, own["message"])),
    )


def _methods(frame: pd.DataFrame) -> str:
    found = set(frame["method"])
    if (frame["n_before"].eq(0) | frame["n_after"].eq(0)).all():
        return "but one side has no measured values: nothing to compare yet"
    if "welch" in found and "paired" in found:
        return "paired by seed where both ran the same seeds from the same weights, else as independent groups (Welch)"
    if "welch" in found:
        return "as independent groups (Welch): not the same seeds from the same weights"
    return "paired by seed: the same weights on both sides" if "paired" in found else "one value per side"


def _table(caption: str, quantities: Iterable[str], frame: pd.DataFrame, several: bool) -> list[Table]:
    shown = [name for name in (_available(name, frame) for name in quantities) if name]
    if not shown:
        return []
    columns = [Column("optimizer", partial(_optimizer, several), text=True)]
    first = _by_quantity(frame.drop_duplicates("quantity"))
    columns += [Column(title_of(first[name]), partial(_of, name)) for name in shown]
    columns.append(Column("seeds", partial(_seeds, tuple(shown))))
    entries = [_by_quantity(own) for _, own in frame.groupby(["horizon", "optimizer"], sort=False)]
    return [Table.of(caption, columns, entries)]


def _available(quantity: str, frame: pd.DataFrame) -> str:
    for name in (quantity, _INSTEAD.get(quantity)):
        if name is not None and (frame["quantity"] == name).any():
            return name
    return ""


def _by_quantity(own: pd.DataFrame) -> Rows:
    return {str(row["quantity"]): row for row in own.to_dict("records")}


def _optimizer(several: bool, entry: Rows) -> str:
    row = next(iter(entry.values()))
    return clean(str(row["optimizer"])) + (f" ({row['horizon']})" if several else "")


def _of(quantity: str, entry: Rows) -> Cell:
    return change_cell(entry[quantity]) if quantity in entry else Cell("–")


def _seeds(quantities: tuple[str, ...], entry: Rows) -> str:
    sizes = [(row["n_before"], row["n_after"]) for name, row in entry.items() if name in quantities]
    before, after = max(sizes, default=(0, 0))
    return str(before) if before == after else f"{before}, {after}"


def _settings(suite: str, more: dict[str, pd.DataFrame]) -> list[Block]:
    blocks = []
    for name, what in (("suite_changes", "suite"), ("environment_changes", "environment")):
        own = more[name][more[name]["suite"] == suite]
        if len(own):
            facts = f"{len(own)} {'key differs' if len(own) == 1 else 'keys differ'}"
            table = _plain(f"Changed in the {what}", ("key", "before", "after"), own)
            blocks.append(Block(f"Changes in the {what}", facts, (table,)))
        else:
            blocks.append(Block(f"Changes in the {what}", "None"))
    return blocks


def _closing(
    matched: Matched, one_sided: pd.DataFrame, judgements: Sequence[Judgement], names: tuple[str, str]
) -> list[Section]:
    blocks = []
    if len(one_sided):
        sides = {"before": clean(names[0]), "after": clean(names[1])}
        shown = one_sided.assign(only_in=one_sided["only_in"].map(sides))
        columns = ("only_in", "suite", "workload", "horizon", "optimizer", "difference")
        facts = f"{len(shown)} {'entry has' if len(shown) == 1 else 'entries have'} no counterpart (workload, horizon and label)"
        if not any(pair.entries for pair in matched.suites):
            facts = f"Nothing was compared: {clean(differences(one_sided))}"
        blocks.append(Block("Only on one side", facts, (_plain("Not compared", columns, shown),)))
    if judgements:
        blocks.append(_gates(judgements))
    title = "Overall" if matched.suites else "No common entries"
    return [Section(title, "", tuple(blocks))] if blocks else []


def _gates(judgements: Sequence[Judgement]) -> Block:
    shown = pd.DataFrame(
        [
            {
                "gate": of.gate.kind,
                "optimizer": of.compared.change.optimizer if of.compared else "–",
                "outcome": of.outcome,
                "reason": judgement_text(of),
            }
            for of in judgements
        ]
    )
    table = _plain("Outcomes", ("gate", "optimizer", "outcome", "reason"), shown)
    outcomes = set(shown["outcome"])
    meanings = [meaning for outcome, meaning in _OUTCOMES.items() if outcome in outcomes]
    facts = "All passed" if outcomes == {"passed"} else "; ".join(meanings)
    return Block("Gates", facts[0].upper() + facts[1:], (table,))


def _plain(caption: str, keys: Sequence[str], frame: pd.DataFrame) -> Table:
    return Table.of(caption, [text_column(key.replace("_", " "), key) for key in keys], frame)


def _named(names: tuple[str, str]) -> str:
    return f"Before: {clean(names[0])}; after: {clean(names[1])}"
