"""Block with the ranks of many entries over several workloads."""

from __future__ import annotations

import math

import pandas as pd

from optbench.analysis.ranking import COLUMNS
from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Table
from optbench.report.text import clean, number

HEADING = "Ranking"


def ranking_block(frame: pd.DataFrame) -> Block | None:
    """Return the block of a frame of `analysis.ranking.ranking_frame`, None for an empty one."""
    if frame.empty:
        return None
    workloads = [name for name in frame.columns if name not in COLUMNS]
    columns = (
        text_column("optimizer"),
        Column("family", lambda row: clean(row["family"]) or "–", text=True),
        text_column("package"),
        Column("group", lambda row: str(row["group"])),
        Column(
            "mean rank",
            lambda row: f"{row['mean_rank']:.1f} ({row['mean_rank_low']:.1f}–{row['mean_rank_high']:.1f})",
        ),
        Column("places", lambda row: f"{row['place_low']:.0f}–{row['place_high']:.0f}"),
        Column("untuned\nrank", lambda row: _number(row["untuned_rank"], "", 1)),
        Column("state", lambda row: _number(row["state"], "x", 2)),
        Column("step\ncost", lambda row: _number(row["step_cost"], "x", 2)),
        Column("failed", lambda row: "–" if math.isnan(row["worst"]) else f"{100 * row['worst']:.0f} %"),
        *(
            Column(clean(name), lambda row, name=name: "–" if math.isnan(row[name]) else number(row[name], 4))  # type: ignore[misc]
            for name in workloads
        ),
    )
    return Block(
        heading=HEADING,
        facts=f"{len(frame)} entries, {len(workloads)} workloads; ranks depend on the set of entries",
        tables=(Table.of("Mean rank of the final metric over the workloads", columns, frame),),
        notes=_notes(frame),
        warnings=_warnings(frame),
        numbers=frame,
    )


def _notes(frame: pd.DataFrame) -> tuple[str, ...]:
    return (
        "Mean rank: the rank of the mean final metric among all entries, averaged over the workloads; 1 is best. Places: the places in "
        "this table that are consistent with the seeds. Both in 95 % bands, over means drawn from the t-distribution of each workload and "
        "entry. The bands do not cover other workloads, other tuning trials or other budgets.",
        "Group: entries whose mean rank does not differ significantly from that of the group's first entry (5 %, Bonferroni over all "
        "entries). The order within a group has no meaning.",
        "Untuned rank: mean rank of the expected metric of a single tuning trial, which is a random choice from the search space.",
        "State: maximum bytes of optimizer state over bytes of parameters. Step cost: CPU time of a training step over that of the "
        "baseline, geometric mean over the workloads. Failed: share of all trials, tuning included, that diverged or failed.",
        *(
            ["–: no trial of the entry trained on this workload; it has the last rank there."]
            if (frame["not_trained"] != "").any()
            else []
        ),
    )


def _warnings(frame: pd.DataFrame) -> tuple[str, ...]:
    lost = frame[frame["not_trained"] != ""]
    return tuple(
        f"{clean(row['optimizer'])} did not train on {clean(row['not_trained'])}"
        for row in lost.to_dict("records")
    )


def _number(value: float, unit: str, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}{unit}"
