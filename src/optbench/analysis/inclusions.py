"""Methods that contain others as special cases: with enough tuning, the general one does not lose (Choi et al. 2019, 1910.05446).

A tuned entry that is significantly worse than an entry of its special case has too small a search space or too few trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from optbench.analysis.compare import ALPHA
from optbench.analysis.frames import plain_rows
from optbench.analysis.rows import TableRow, comparable, workload_rows
from optbench.analysis.table import final_pairs
from optbench.analysis.tuning import studies
from optbench.store import Results, SuiteResults
from optbench.suite.spaces import has_space
from optbench.suite.types import Optimizer


@dataclass(frozen=True)
class Inclusion:
    """`general` equals `special` for some value of its hyperparameters."""

    special: str
    general: str
    how: str


#: Choi et al. 2019, section 3.2 (SGD, momentum, RMSProp with momentum, Adam, Nesterov momentum, NAdam), and two that hold by definition.
#: Adam is no special case of NAdam: both contain RMSprop, and differ in their momentum.
INCLUSIONS = (
    Inclusion("SGD", "momentum", "momentum = 0"),
    Inclusion("SGD", "Nesterov momentum", "momentum = 0"),
    Inclusion("momentum", "RMSprop with momentum", "a large eps, with a learning rate that grows with it"),
    Inclusion("momentum", "Adam", "a large eps, with a learning rate that grows with it"),
    Inclusion(
        "Nesterov momentum",
        "NAdam",
        "a large eps, with a learning rate that grows with it, and momentum_decay = 0",
    ),
    Inclusion("RMSprop", "RMSprop with momentum", "momentum = 0"),
    Inclusion("Adam", "AdamW", "weight_decay = 0"),
)

COLUMNS = ("suite", "workload", "horizon", "general", "special", "metric", "difference", "p", "how")
_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "nadam": "NAdam", "rmsprop": "RMSprop"}


def special_cases(general: str) -> dict[str, str]:
    """Return all methods that `general` contains, directly or through others, with the settings that give them."""
    found: dict[str, str] = {}
    for inclusion in INCLUSIONS:
        if inclusion.general == general:
            found[inclusion.special] = inclusion.how
            for special, how in special_cases(inclusion.special).items():
                found.setdefault(special, f"{inclusion.how}; {how}")
    return found


def method_of(entry: Optimizer) -> str:
    """Return the method of an entry of torch's optimizers, by its class and its settings; "" for any other."""
    if len(entry.rules) != 1:
        return ""
    [rule] = entry.rules
    folder, _, name = rule.use.rpartition(".")
    method = _NAMES.get(name.lower(), "") if folder in ("", "torch.optim") else ""
    if _is_on(rule.arguments.get("amsgrad")) or _is_on(rule.arguments.get("centered")):
        return ""
    has_momentum = _is_on(rule.arguments.get("momentum"))
    if method == "SGD" and has_momentum:
        return "Nesterov momentum" if _is_on(rule.arguments.get("nesterov")) else "momentum"
    return "RMSprop with momentum" if method == "RMSprop" and has_momentum else method


def inclusions_frame(results: Results) -> pd.DataFrame:
    """Return one row per tuned entry that is significantly worse than an entry of its special case.

    Columns: suite, workload, horizon; general and special (labels); metric; difference (general minus special, mean of the final metric), p
    (Holm-adjusted over all pairs, as in the comparison); how (settings of the general method that give the special case).
    """
    records = [record for suite in results.suites for record in _of_suite(suite)]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _of_suite(suite: SuiteResults) -> Iterator[dict[str, Any]]:
    tuned = {(study.workload, study.label) for study in studies(Results((suite,)))}
    if not tuned or suite.plan is None:
        return
    written = suite.plan.resolved["optimizers"]
    entries = {label: Optimizer.model_validate(entry) for label, entry in written.items()}
    for _, workload, block in workload_rows(Results((suite,))):
        metric = block[0].trial.workload.metrics[0]
        higher = block[0].facts(metric).higher_is_better
        for alike in comparable(block):
            by_id = {row.config_id: row for row in alike}
            for pair in plain_rows(final_pairs(suite, alike)):
                if not pair["p_holm"] < ALPHA:
                    continue
                a, b = by_id[pair["a"]], by_id[pair["b"]]
                worse, better = (b, a) if (pair["difference"] > 0) == higher else (a, b)
                how = _contains(entries[worse.trial.label], entries[better.trial.label])
                if how and (workload, worse.trial.label) in tuned:
                    yield _record(worse, better, metric, pair, how)


def _record(worse: TableRow, better: TableRow, metric: str, pair: dict[Any, Any], how: str) -> dict[str, Any]:
    sign = 1 if pair["a"] == worse.config_id else -1
    return {
        "suite": worse.suite,
        "workload": worse.trial.workload_name,
        "horizon": worse.horizon,
        "general": worse.trial.label,
        "special": better.trial.label,
        "metric": metric,
        "difference": sign * pair["difference"],
        "p": pair["p_holm"],
        "how": how,
    }


def _contains(general: Optimizer, special: Optimizer) -> str:
    """Return how the tuned entry `general` gives `special`; "" if it does not contain it, or differs in its settings of training."""
    settings = ("schedule", "clip", "ema", "batch_size", "no_weight_decay")
    if any(getattr(general, name) != getattr(special, name) for name in settings):
        return ""
    how = special_cases(method_of(general)).get(method_of(special), "")
    of_general, of_special = (entry.rules[0].arguments.get("weight_decay") for entry in (general, special))
    decays = _is_on(of_special)
    decoupled = method_of(general) == "AdamW"
    if decays and (
        decoupled or not has_space(of_general)
    ):  # the penalty is another one, or cannot be the same
        return ""
    is_fixed = _is_on(of_general) and not has_space(of_general)
    return "" if is_fixed or (decoupled and of_general is None) else how


def _is_on(value: Any) -> bool:
    return value not in (None, 0, False)
