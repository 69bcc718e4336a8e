"""Leaderboard as tables, with its scoring rules as notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from optbench.analysis.leaderboard import Leaderboard, leaderboard, rules_of, trial_times
from optbench.analysis.profiles import RESAMPLES
from optbench.analysis.warnings import warnings_frame
from optbench.report.cells import Column, text_column
from optbench.report.document import Block, Report, Section, Table
from optbench.report.text import clean, seconds
from optbench.store import Results, SuiteResults

#: more submissions than this make a table of times too wide for a terminal
_WIDE = 4
_TAUS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)


def build_leaderboard(results: Results) -> Report:
    """Return the report with one section per suite; its `table` has one row per submission (see `leaderboard_frame`).

    Raises `OptbenchError` if a suite has no workload with a target, or no complete trial.
    """
    boards = [(suite, leaderboard(trial_times(suite), rules_of(suite))) for suite in results.suites]
    sections = [_section(suite, board) for suite, board in boards]
    table = pd.concat([leaderboard_frame(suite.name, board) for suite, board in boards], ignore_index=True)
    findings = [
        {"suite": suite.name, "workload": "", "kind": "import", "message": message}
        for suite, _ in boards
        for message in _findings(suite)
    ]
    return Report(tuple(sections), table, pd.DataFrame(findings, columns=warnings_frame(Results(())).columns))


def leaderboard_frame(name: str, board: Leaderboard) -> pd.DataFrame:
    """Return a tidy frame, best first: suite, submission, score, score_low, score_high (95 %), reached, workloads, studies_least,
    studies_most, order_changed; ahead_of_<submission> (share of resamples in which this one's score is greater);
    seconds_<workload> (median over studies, inf if not reached), counts_<workload> (whether it counts).
    """
    table = board.scores.rename(columns={"low": "score_low", "high": "score_high"})
    table.insert(0, "suite", name)
    table["order_changed"] = board.order_changed
    by_name = table["submission"].tolist()
    columns: dict[str, Any] = {
        f"ahead_of_{other}": [_ahead(board, own, other) for own in by_name] for other in by_name
    }
    for workload in board.times.columns:
        columns[f"seconds_{workload}"] = board.times[workload].to_numpy()
        columns[f"counts_{workload}"] = np.isfinite(board.counted[workload].to_numpy())
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def leaderboard_block(suite: SuiteResults, board: Leaderboard) -> Block:
    names = list(board.scores["submission"])
    rules = board.rules
    variants = f", {len(rules.held_out)} held-out variants" if rules.held_out else ""
    tables = [
        _scores(board),
        _times(board, detail=len(names) > _WIDE),
        _profile(board),
        _flips(board),
    ]
    return Block(
        heading="Leaderboard",
        facts=clean(
            f"{len(rules.base)} base workloads{variants}; scores depend on the set of submissions: {', '.join(names)}"
        ),
        tables=tuple(table for table in tables if table.rows),
        notes=tuple(_notes(board)),
        warnings=tuple(clean(message) for message in [*_findings(suite), *_without_logs(board)]),
        numbers=leaderboard_frame(suite.name, board),
    )


def _section(suite: SuiteResults, board: Leaderboard) -> Section:
    resolved = suite.plan.resolved if suite.plan else {}
    return Section(
        title=clean(resolved.get("title") or suite.name),
        description="",
        blocks=(leaderboard_block(suite, board),),
        warnings=tuple(clean(str(problem)) for problem in suite.warnings),
        command=clean(suite.plan.command) if suite.plan else "",
    )


def _findings(suite: SuiteResults) -> list[str]:
    return list(suite.plan.provenance.get("findings", [])) if suite.plan is not None else []


def _without_logs(board: Leaderboard) -> list[str]:
    """Return a warning about variants without any time, which exclude their base workloads for all submissions."""
    lost = [name for name in board.rules.held_out if np.isinf(board.times[name].to_numpy()).all()]
    if not lost:
        return []
    return [
        f"held-out variants without logs, or not reached by any submission: {', '.join(lost)}; their base workloads do not count"
    ]


def _scores(board: Leaderboard) -> Table:
    ahead = board.scores["submission"].tolist()[1:]
    table = board.scores.assign(next=[*ahead, ""])
    columns = (
        text_column("submission"),
        Column("score", lambda row: f"{row['score']:.4f}"),
        Column("95 %\nband", lambda row: f"{row['low']:.2f}–{row['high']:.2f}"),
        Column("workloads\nthat count", lambda row: f"{row['reached']}/{row['workloads']}"),
        Column("studies", _studies),
        Column("next one\nis ahead in", lambda row: _share(_ahead(board, row["next"], row["submission"]))),
    )
    return Table.of("Scores", columns, table)


def _studies(row: Mapping[Any, Any]) -> str:
    least, most = row["studies_least"], row["studies_most"]
    return str(most) if least == most else f"{least}–{most}"


def _times(board: Leaderboard, *, detail: bool) -> Table:
    def column(name: str) -> Column:
        def cell(row: Mapping[Any, Any]) -> str:
            time, counted = row[name], board.counted.loc[name, row["workload"]]
            if np.isinf(time):
                return "not reached"
            text = seconds(time) if time < 1000 else f"{time:,.0f}"
            return text if np.isfinite(counted) else f"({text})"

        return Column(clean(name), cell)

    table = board.times.T.rename_axis("workload").reset_index()
    first = text_column("workload")
    columns = (first, *(column(name) for name in board.times.index))
    return Table.of("Seconds to target, median over the studies", columns, table, detail=detail)


def _profile(board: Leaderboard) -> Table:
    def column(tau: float) -> Column:
        position = int(np.searchsorted(board.profile.columns, tau, side="right")) - 1
        return Column(f"<= {tau:g}x", lambda row: f"{row[board.profile.columns[position]]:.3f}")

    table = board.profile.rename_axis("submission").reset_index()
    first = text_column("submission")
    caption = "Performance profile: share of workloads within that multiple of the fastest time"
    return Table.of(caption, (first, *map(column, _TAUS)), table, detail=True)


def _flips(board: Leaderboard) -> Table:
    columns = (
        text_column("ahead", "first"),
        text_column("behind", "second"),
        Column("order\nflips in", lambda row: _share(row["flipped"])),
        Column("tied in", lambda row: _share(row["tied"])),
    )
    return Table.of(
        "Order changes of pairs of submissions over resampled studies", columns, board.flips, detail=True
    )


def _ahead(board: Leaderboard, own: str, other: str) -> float:
    """Return the share of resamples in which `own` has the higher score; NaN for a pair of equal scores."""
    for pair in board.flips.to_dict("records"):
        if (pair["first"], pair["second"]) == (other, own):
            return float(pair["flipped"])
        if (pair["first"], pair["second"]) == (own, other):
            return float(1 - pair["flipped"] - pair["tied"])
    return float("nan")


def _share(value: float) -> str:
    if np.isnan(value):
        return "–"
    return "< 0.1 %" if 0 < value < 0.001 else f"{100 * value:.1f} %"


def _notes(board: Leaderboard) -> list[str]:
    counting: Callable[[str], str] = lambda text: text if board.rules.held_out else ""  # noqa: E731
    brackets = (np.isfinite(board.times.to_numpy()) & np.isinf(board.counted.to_numpy())).any()
    outside = not board.scores["score"].between(board.scores["low"] - 1e-9, board.scores["high"] + 1e-9).all()
    few = board.scores["studies_most"].max() < 10
    notes = [
        "A study's time is the minimum training time at which one of its trials first meets the validation target; a "
        "submission's time is the median over its studies. It is infinite if the target is not reached or there are no logs.",
        counting("A held-out variant's time is set to infinity if its base workload was not reached."),
        "A time above 4 times the fastest time of its workload is set to infinity.",
        counting("A base workload's time is set to infinity if its held-out variant's time is infinite."),
        "Times in brackets were reached but do not count under these rules." if brackets else "",
        "Score: area under the share of base workloads with a time within tau times the fastest, at 100 equally spaced tau "
        "from 1 to 4, by the trapezoidal rule, divided by 3.",
        f"Bands and flips: {RESAMPLES:,} bootstrap samples of the studies, drawn per submission and workload; in "
        f"{_share(board.order_changed)} of them at least one pair is in the opposite order.",
        "A score can lie outside its band: each resample has its own fastest time per workload, which changes all scores."
        if outside
        else "",
        "With fewer than 10 studies such bands are too narrow; they are a lower bound of the uncertainty."
        if few
        else "",
    ]
    return [note for note in notes if note]
