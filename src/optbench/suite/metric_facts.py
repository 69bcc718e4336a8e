"""Facts of a metric: defined in the file of its function, stored in plans, read by reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: unit of metrics from 0 to 1 that reports show in percent
FRACTION = "fraction"
#: endings of names; see `facts_by_name`
_LOWER = ("loss", "error", "error_rate", "perplexity", "ppl", "mse", "mae", "rmse", "wer")
_HIGHER = ("accuracy", "ssim", "bleu", "mean_average_precision")


@dataclass(frozen=True)
class MetricFacts:
    """Direction, range, unit and failed value of a metric."""

    higher_is_better: bool
    low: float | None = None
    """Minimum; None if it has none."""
    high: float | None = None
    unit: str = ""
    """`fraction`, or words such as `nats`; "" for a plain number."""
    failed: float | None = None
    """Value of a trial that diverged or failed; None: the worst end of the range, or the worst value measured if there is none."""

    @property
    def is_fraction(self) -> bool:
        """Whether reports show the metric in percent."""
        return self.unit == FRACTION

    @property
    def range(self) -> tuple[float, float]:
        """Minimum and maximum; infinite where the metric has none."""
        return (-math.inf if self.low is None else self.low, math.inf if self.high is None else self.high)

    @property
    def worst(self) -> float | None:
        """Value that a trial with the worst outcome counts as; None: the worst value measured."""
        if self.failed is not None:
            return self.failed
        return self.low if self.higher_is_better else self.high


def checked_facts(stated: Mapping[str, Any]) -> MetricFacts:
    """Return the facts of a mapping with the fields of `MetricFacts`. Raises `ValueError` with what is wrong."""
    unknown = [name for name in stated if name not in MetricFacts.__dataclass_fields__]
    if unknown:
        expected = ", ".join(MetricFacts.__dataclass_fields__)
        raise ValueError(f"unknown fact '{unknown[0]}'; expected {expected}")
    if not isinstance(stated.get("higher_is_better"), bool):
        raise ValueError("expected True or False as 'higher_is_better'")
    for name in ("low", "high", "failed"):
        value = stated.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError(f"expected a number or None as '{name}'; found {value!r}")
    if not isinstance(stated.get("unit", ""), str):
        raise ValueError(f"expected text as 'unit', such as 'fraction' or 'nats'; found {stated['unit']!r}")
    facts = MetricFacts(**stated)
    low, high = facts.range
    if not low < high:
        raise ValueError(f"expected 'low' below 'high'; found {facts.low!r} and {facts.high!r}")
    if facts.is_fraction and not (low >= 0 and high <= 1):
        raise ValueError(f"a fraction has a range within 0 to 1; found {facts.low!r} to {facts.high!r}")
    return facts


def direction_by_name(metric: str) -> bool | None:
    """Return whether higher values are better, by the end of the name; None if it shows neither."""
    name = metric.lower()
    return False if name.endswith(_LOWER) else True if name.endswith(_HIGHER) else None


def facts_by_name(metric: str, higher_is_better: bool | None = None) -> MetricFacts:
    """Return the facts of a metric that nothing states: in logs of other tools, and in results of older versions."""
    if higher_is_better is None:
        higher_is_better = direction_by_name(metric) is not False
    failed = 0.0 if higher_is_better else None
    if "accuracy" in metric.lower():
        return MetricFacts(higher_is_better, 0.0, 1.0, FRACTION, failed)
    return MetricFacts(higher_is_better, failed=failed)
