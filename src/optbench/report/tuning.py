"""Blocks about tuning: what was selected, what it cost, and how much the selection flatters it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import pandas as pd
from pydantic import BaseModel

from optbench.analysis.tuned_entries import MARGIN, SHARE_MARGIN, STEPS_MARGIN, wider_spaces
from optbench.plurals import counted
from optbench.report.cells import Cell, Column, text_column
from optbench.report.document import Block, Table
from optbench.report.text import clean, in_percent, number, seconds, with_unit
from optbench.store import SuiteResults
from optbench.suite.dump import argument_path, as_line, setting_text
from optbench.suite.protocols import protocol
from optbench.suite.tuning import TIME_TO_TARGET, Tuning
from optbench.suite.types import Optimizer
from optbench.suite.value_formatting import as_text

CAPTION = "Cost of tuning and optimism of the selection"
Row = Mapping[Any, Any] | pd.Series
_SHOWN_AT = (1, 3, 5, 10, 20, 50)  # numbers of trials at which the expected best is shown


@dataclass(frozen=True)
class TuningFrames:
    """Frames about tuning: `tuned_entries_frame`, `near_best_frame`, `tuning_frame` and `inclusions_frame`."""

    entries: pd.DataFrame
    near_best: pd.DataFrame
    studies: pd.DataFrame
    inclusions: pd.DataFrame

    def of(self, **values: str) -> TuningFrames:
        """Return the rows with these values, as in `suite="digits"`."""
        kept = {name: getattr(self, name) for name in ("entries", "near_best", "studies", "inclusions")}
        for column, value in values.items():
            kept = {name: frame[frame[column] == value] for name, frame in kept.items()}
        return TuningFrames(**kept)


def tuning_blocks(frames: TuningFrames) -> list[Block]:
    """Return one block per workload of one suite."""
    names = list(dict.fromkeys(frames.entries["workload"]))
    return [
        _block(frames.of(workload=workload), str(workload) if len(names) > 1 else "") for workload in names
    ]


def widening_command(suite: SuiteResults) -> str:
    """Return the command of the last run with wider spaces for settings at an end of theirs; "" if there are none.

    Return the values of `--set` only if the command does not name the suite, as for a run through the Python API, or is not
    `optbench run`.
    """
    wider = wider_spaces(suite)
    if suite.plan is None or not wider:
        return ""
    entries = {label: Optimizer.model_validate(suite.plan.resolved["optimizers"][label]) for label in wider}
    spaces_by_path = {
        argument_path(label, entries[label], name): space
        for label, spaces in wider.items()
        for name, space in spaces.items()
    }
    settings = [
        argument
        for path, space in spaces_by_path.items()
        for argument in ("--set", f"{path}={as_line(space)}")
    ]
    return shlex.join([*_of_suite(suite.plan.command, suite.plan.suite, spaces_by_path), *settings])


def _of_suite(command: str, suite: str, replaced: Collection[str]) -> list[str]:
    """Return the arguments of an `optbench run` without other suites than this one, `--fresh`, and `--set` of a path in `replaced`.

    Empty for another command, and if no argument before the first option names the suite, as for a folder of suites.
    """
    try:
        arguments = shlex.split(command)
    except ValueError:  # not a command of a shell: the plan was written by another program
        return []
    first_option = next((n for n, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    names = [text for text in arguments[2:first_option] if PurePath(text).stem == suite]
    if not names or arguments[1] != "run":
        return []
    options, rest = [], iter(arguments[first_option:])
    for text in rest:
        is_set = text.partition("=")[0] == "--set"
        setting = next(rest, "") if text == "--set" else text.removeprefix("--set=")
        if is_set and setting.partition("=")[0].strip() not in replaced:
            options += ["--set", setting]
        elif not is_set and text != "--fresh":
            options.append(text)
    return [*arguments[:2], *names, *options]


def _block(frames: TuningFrames, workload: str) -> Block:
    entries = frames.entries
    tables = [_cost_table(entries)]
    if any(row["expected_best"] for row in entries.to_dict("records")):
        tables.append(_budget_table(entries))
    if len(frames.near_best):
        tables.append(_settings_table(frames))
    if entries["studies"].max() > 1:
        tables.append(_studies_table(frames.studies))
    return Block(
        heading=f"Tuning{f' on {clean(workload)}' if workload else ''}",
        facts="",
        tables=tuple(tables),
        notes=tuple(_notes(frames)),
        warnings=(*_warnings(frames), *_too_small(frames.inclusions)),
        measured_on="",
    )


def _scores(first: Row) -> tuple[Column, ...]:
    return (
        Column(f"tuned\n{_with_unit(first)}", lambda row: Cell(_score(row["tuned"], first))),
        Column("fresh", lambda row: Cell(_score(row["fresh"], first))),
        Column("optimism", lambda row: Cell(_score(row["optimism"], first))),
    )


def _cost_table(entries: pd.DataFrame) -> Table:
    columns = (
        text_column("optimizer"),
        Column("trials", lambda row: Cell(_trials(row, int(row["studies"])))),
        *([Column("pruned", lambda row: Cell(str(row["pruned"])))] if entries["pruned"].any() else []),
        Column("diverged", lambda row: Cell(str(row["diverged"]))),
        Column("epochs", lambda row: Cell(number(row["tuning_epochs"], 3))),
        Column("seconds", lambda row: Cell(seconds(row["tuning_seconds"]))),
        *_scores(entries.iloc[0]),
    )
    return Table.of(CAPTION, columns, entries)


def _budget_table(entries: pd.DataFrame) -> Table:
    first, most = entries.iloc[0], int(entries["trials"].max())
    numbers = [k for k in _SHOWN_AT if k < most] + [most]
    columns = [text_column("optimizer")]
    for k in numbers:
        columns.append(Column(counted(k, "trial").replace(" ", "\n"), partial(_expected, k, first)))
    columns.append(Column("tunability", lambda row: Cell(_score(row["tunability"], first))))
    if entries["near_best"].notna().any():
        columns.append(Column(f"% of trials\n{_margin(first)}", lambda row: Cell(_percent(row["near_best"]))))
    return Table.of(f"Expected best {_with_unit(first)} by number of tuning trials", columns, entries)


def _settings_table(frames: TuningFrames) -> Table:
    several = bool(frames.entries["studies"].max() > 1)
    columns = (
        text_column("optimizer"),
        text_column("setting", "hyperparameter"),
        Column("space", lambda row: Cell(clean(as_line(row["space"]))), text=True),
        Column("selected", lambda row: Cell(clean(values_text(row["selected"]))), text=True),
        Column(f"values\n{_margin(frames.entries.iloc[0])}", lambda row: Cell(clean(_near(row))), text=True),
        Column("decades", lambda row: Cell("–" if math.isnan(row["decades"]) else f"{row['decades']:.1f}")),
    )
    caption = f"Selected settings{' of all studies' if several else ''} and sensitivity around them"
    return Table.of(caption, columns, frames.near_best)


def _studies_table(studies: pd.DataFrame) -> Table:
    columns = (
        text_column("optimizer"),
        Column("study", lambda row: Cell(str(row["study"]))),
        Column("trials", lambda row: Cell(_trials(row, 1))),
        Column("selected", lambda row: Cell(_settings(row["best"])), text=True),
        *_scores(studies.iloc[0]),
        Column("diverged", lambda row: Cell(str(row["diverged"]))),
    )
    return Table.of("Tuning by study", columns, studies, detail=True)


def _margin(first: Row) -> str:
    """Return how near the best trial a trial is to count for the sensitivity."""
    if in_percent(first):
        return f"within {100 * SHARE_MARGIN:g} point"
    return f"within {100 * (STEPS_MARGIN if first['metric'] == TIME_TO_TARGET else MARGIN):g} %"


def values_text(values: Sequence[Any]) -> str:
    """Return the values of all studies: the minimum and the maximum of numbers, the different ones of others."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        low, high = _number(min(values)), _number(max(values))
        return low if low == high else f"{low} to {high}"
    return " or ".join(dict.fromkeys(map(setting_text, values)))


def _number(value: float) -> str:
    """Return a whole number, or three significant digits; between 0.9 and 1, as of momenta, so many that 1 minus the value has them."""
    if isinstance(value, int):
        return str(value)
    if not 0.9 < value < 1:
        return number(value)
    return f"{value:.{2 - math.floor(math.log10(1 - value))}f}".rstrip("0")


def _near(row: Mapping[Any, Any]) -> str:
    if not math.isnan(row["near_low"]):
        return values_text([row["near_low"], row["near_high"]])
    return values_text(row["near_values"])


def protocol_text(tuning: Tuning, seeds: int) -> str:
    """Return the published protocol of the tuning, and which of its keys the suite overrides; "" without one."""
    if tuning.protocol is None:
        return ""
    published = protocol(tuning.protocol)
    changes = [
        f"{key} {_value(own)} instead of {_value(theirs)}" for key, (theirs, own) in tuning.overrides.items()
    ]
    if published.seeds is not None and seeds != published.seeds:
        changes.append(f"{seeds} seeds instead of {published.seeds}")
    text = f"Protocol: {published.title} ({published.source})"
    if changes:
        text += f", with {', '.join(changes)}"
    return f"{text}. Differences: {published.differs}."


def _value(value: Any) -> str:
    return as_text(value.model_dump() if isinstance(value, BaseModel) else value)


def metric_name(metric: str) -> str:
    """Return the name of the metric of selection, as tables and figures show it."""
    return "steps to target" if metric == TIME_TO_TARGET else clean(metric)


def _trials(row: Mapping[Any, Any], studies: int) -> str:
    planned = row["trials"] * studies
    text = f"{studies} x {row['trials']}" if studies > 1 else str(row["trials"])
    return text if row["complete"] == planned else f"{row['complete']} of {text}"


def _settings(point: Mapping[str, Any]) -> str:
    return clean(", ".join(f"{name}={setting_text(value)}" for name, value in point.items())) or "–"


def _with_unit(first: Row) -> str:
    name = with_unit(metric_name(str(first["metric"])), str(first["metric_unit"]))
    return f"{name} %" if in_percent(first) else name


def _score(value: float, first: Row) -> str:
    """Return a value of the metric, in percent with two decimals if it is a share. `first`: any row of the table."""
    if math.isnan(value):
        return "–"
    return f"{100 * value:z.2f}" if in_percent(first) else number(value, 4)


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f}"


def _expected(k: int, first: Row, row: Mapping[Any, Any]) -> Cell:
    curve = row["expected_best"]
    return Cell(_score(curve[k - 1], first) if k <= len(curve) else "–")


def _notes(frames: TuningFrames) -> Iterator[str]:
    entries = frames.entries
    metric = str(entries["metric"].iloc[0])
    by_time = metric == TIME_TO_TARGET
    means = (
        "the number of steps to the target on the validation split"
        if by_time
        else "the validation metric at the end of training"
    )
    averages = ", mean over the studies" if entries["studies"].max() > 1 else ""
    yield (
        f"Selected: the best trial by {means}; the test split is never used. Tuned: its {'steps' if by_time else 'metric'}, with "
        f"the seed of tuning{averages}. Fresh: the mean over the seeds of the suite, which tuning did not use. Optimism: by how much "
        "tuned is better. Epochs and seconds: training of all tuning trials together."
    )
    if entries["pruned"].any():
        yield ("Pruned: trials that were not continued, since others were better after a part of the budget.")
    if any(map(len, entries["expected_best"])):
        yield (
            "Expected best: after so many of the trials in random order, by the unbiased estimator of Tang et al. 2020 (2004.13705). "
            "Tunability: its weighted mean over all numbers of trials, with the largest weights on the first ones (Sivaprasad et al. "
            "2020, 1910.11758)."
        )
    if len(frames.near_best):
        best = "the fewest steps" if by_time else "the best validation value"
        yield (
            f"{_margin(entries.iloc[0]).capitalize()}: of {best} of all tuning trials of the entry. The range of values is from the "
            "lowest to the highest of these trials; other settings vary at the same time. Decades: its width on a logarithmic scale."
        )


def _warnings(frames: TuningFrames) -> Iterator[str]:
    entries, studies = frames.entries, frames.studies
    if edges := list(_edges(frames)):
        yield f"selected at an end of the search space: {'; '.join(edges)}. A wider space may contain a better setting"
    if entries["trials"].nunique() > 1 or entries["complete"].nunique() > 1:
        yield "the entries have different numbers of tuning trials"
    sizes = studies.drop_duplicates("optimizer")
    if sizes["dimensions"].nunique() > 1 and not sizes["exhaustive"].all():
        text = ", ".join(f"{clean(row['optimizer'])} {row['dimensions']}" for row in sizes.to_dict("records"))
        yield f"the entries have different numbers of search spaces, so that the same number of trials covers them differently: {text}"
    lost = studies[(studies["complete"] == studies["trials"]) & studies["best_trial"].isna()]
    for row in lost.to_dict("records"):
        consequence = "its seeds are missing" if studies["study"].max() > 1 else "it has no row in the table"
        yield f"no tuning trial of {_name(row, studies)} trained: {consequence}"


def _edges(frames: TuningFrames) -> Iterator[str]:
    """Yield the entries with settings at an end of their space, with the ends and the number of studies that selected them."""
    at_edge = frames.studies[frames.studies["edge"] != ""]
    for label, own in at_edge.groupby("optimizer", sort=False):
        ends = " and ".join(dict.fromkeys(", ".join(own["edge"]).split(", ")))
        count = int(frames.entries["studies"].max())
        yield f"{clean(str(label))} at the {clean(ends)}{f' in {len(own)} of {count} studies' if count > 1 else ''}"


def _too_small(inclusions: pd.DataFrame) -> Iterator[str]:
    for row in inclusions.to_dict("records"):
        yield (
            f"the search space of {clean(row['general'])} or its number of trials is too small: it is significantly worse than "
            f"{clean(row['special'])}, which is its special case with {row['how']} (Choi et al. 2019, 1910.05446)"
        )


def _name(row: Mapping[Any, Any], table: pd.DataFrame) -> str:
    """Return the name of the entry, with the number of the study if there are several."""
    label = clean(row["optimizer"])
    return f"{label} (study {row['study']})" if table["study"].max() > 1 else label
