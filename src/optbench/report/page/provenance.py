"""Provenance of a suite's numbers on the page: suite file, environments, failed and excluded trials."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import yaml
from pydantic import ValidationError

from optbench.analysis.frames import sweep_trials_frame, trials_frame
from optbench.analysis.rows import superseded
from optbench.events import reason_of
from optbench.plurals import counted
from optbench.report.page.markup import Html, el, join, name, preformatted
from optbench.store import Plan, Results, SuiteResults
from optbench.suite.dump import dump_text
from optbench.suite.types import Suite

#: lines and characters shown from the end of a failed trial's message
_LINES, _CHARACTERS = 8, 1200
#: facts that differ between trials by nature, or do not affect the numbers
_LEFT_OUT = {"command", "started_at", "study"}


def suite_file(suite: SuiteResults) -> Html:
    """Return the resolved suite file: without defaults, with options of the command line."""
    if suite.plan is None:
        return el("p", "This folder has no plan, so its suite is unknown.")
    try:
        written = dump_text(Suite.model_validate(_written(suite.plan)))
    except (
        ValidationError,
        yaml.YAMLError,
        ValueError,
    ):  # an imported one need not be a suite that could run
        written = json.dumps(suite.plan.resolved, indent=2, ensure_ascii=False)
    return preformatted(written, class_="code", tabindex="0", aria_label="Suite file")


def _written(plan: Plan) -> dict[str, Any]:
    """Return the resolved suite without null keys of entries, except nulls that switch off a setting of the whole suite."""
    trials = {row.trial["label"]: row.trial["entry"] for row in plan.rows}
    entries = {
        label: {
            key: value
            for key, value in entry.items()
            if value is not None or (plan.resolved.get(key) and trials.get(label, {}).get(key, "") is None)
        }
        for label, entry in plan.resolved.get("optimizers", {}).items()
    }
    return plan.resolved | {"optimizers": entries}


def environments(suite: SuiteResults) -> Html:
    """Return a table of environment facts with their values and number of trials."""
    facts: dict[str, dict[str, int]] = {}
    for log in suite.logs:
        for key, value in (log.started.environment if log.started is not None else {}).items():
            if key not in _LEFT_OUT and value is not None:
                of_key = facts.setdefault(key, {})
                shown = _shown(value)
                of_key[shown] = of_key.get(shown, 0) + 1
    if not facts:
        return el("p", "No trial recorded its environment.")
    rows = [el("tr", el("th", key.replace("_", " "), scope="row"), _values(of)) for key, of in facts.items()]
    caption = el("caption", f"As recorded by {counted(len(suite.logs), 'trial')}")
    grid = el("table", caption, el("tbody", *rows), class_="facts")
    return el("div", grid, class_="scroll", role="region", aria_label="Environment", tabindex="0")


def failures(suite: SuiteResults) -> Html | None:
    """Return the trials that did not complete, grouped by reason, with the last lines of their records; None if all completed."""
    timed, swept = trials_frame(Results((suite,))), sweep_trials_frame(Results((suite,)))
    trials = pd.concat([timed.assign(swept=False), swept.assign(swept=True)], ignore_index=True)
    if trials.empty:
        return None
    left = trials[~trials["status"].isin(["completed", "stopped", "paused"])].copy()
    if left.empty:
        return None
    for column in ("detail", "at_fault"):
        left[column] = left[column].fillna("") if column in left else ""
    left["reason"], left["detail"] = left["detail"].map(reason_of), left["detail"].map(_end)
    keys = ["workload", "optimizer", "horizon", "status", "at_fault", "reason", "detail", "swept"]
    groups = left.groupby(keys, sort=False)["seed"].apply(list).reset_index()
    items = [_failure(row, several=trials["workload"].nunique() > 1) for row in groups.to_dict("records")]
    counts = left["status"].value_counts().to_dict()
    summary = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in counts.items())
    lead = f"{len(left)} of {counted(len(trials), 'trial')} did not complete ({summary}). "
    worst = int(left["worst"].fillna(False).astype(bool).sum())
    rule = (
        f"{worst} of them count as the worst outcome, because the optimizer was at fault; the others count as missing "
        "and are retried by the next run."
        if worst < len(left)
        else "All of them count as the worst outcome in means and counts."
    )
    return join(el("p", lead + rule), el("ul", *items, class_="failures"))


def exclusions(suite: SuiteResults) -> list[Html]:
    """Return list items about trials and times that are excluded from the tables."""
    found = []
    old = superseded(suite)
    if old:
        found.append(
            el(
                "li",
                f"{counted(len(old), 'trial')} of configurations that are no longer in the suite: not in any table.",
            )
        )
    trials = trials_frame(Results((suite,)))
    cut = trials.get("timings_interrupted", pd.Series(dtype=bool)).fillna(False).astype(bool)
    if cut.any():
        shown = ", ".join(
            f"{row['optimizer']} seed {row['seed']}" for row in trials[cut].head(10).to_dict("records")
        )
        more = f" and {int(cut.sum()) - 10} more" if cut.sum() > 10 else ""
        found.append(
            el(
                "li",
                "Seconds of trials that were resumed after an interruption are excluded from all times: ",
                name(shown),
                more,
                ".",
            )
        )
    return found


def _failure(row: dict[Any, Any], *, several: bool) -> Html:
    numbers = [str(int(seed)) for seed in row["seed"]]
    which = f"seed{'s' * (len(numbers) != 1)} {', '.join(numbers)}"
    if row["swept"]:
        which = f"{len(row['seed'])} trial{'s' * (len(row['seed']) != 1)} of the sweep"
    where = join(" on ", name(str(row["workload"]))) if several else Html("")
    fault = f", at fault: {row['at_fault']}" if row["at_fault"] else ""
    status = str(row["status"]).replace("_", " ")
    head = el("p", el("strong", name(str(row["optimizer"]))), where, f": {status} ({which}{fault})")
    if not row["detail"]:
        return el("li", head)
    reason = el("p", name(row["reason"]), class_="quiet")
    if "\n" not in row["detail"]:
        return el("li", head, reason)
    last_lines = el(
        "details", el("summary", "Last lines"), preformatted(row["detail"], class_="code", tabindex="0")
    )
    return el("li", head, reason, last_lines)


def _end(detail: str) -> str:
    lines = str(detail).strip().splitlines()[-_LINES:]
    return "\n".join(lines)[-_CHARACTERS:]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _values(found: dict[str, int]) -> Html:
    if len(found) == 1:
        return el("td", name(next(iter(found))))
    return el(
        "td", *(el("div", name(value), f" ({counted(count, 'trial')})") for value, count in found.items())
    )
