"""A learning rate that is scaled with the batch size: `lr: {base: 0.1, per_batch: 256, rule: linear}`.

Linear: Goyal et al. 2017, https://arxiv.org/abs/1706.02677. Square root: Krizhevsky 2014, https://arxiv.org/abs/1404.5997.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from optbench.errors import OptbenchError, nearest
from optbench.suite.spaces import KINDS
from optbench.suite.value_formatting import format_value

RULES = ("linear", "sqrt")
_KEYS = ("base", "per_batch", "rule")


def is_scaled(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Return whether a learning rate is written as a mapping, which may be invalid; see `rate_problem`."""
    return isinstance(value, Mapping)


def scaled_rate(value: Mapping[str, Any], batch_size: int) -> float:
    """Return `base` x batch_size / per_batch, or `base` x its square root. Raises `OptbenchError` for an invalid mapping."""
    if message := rate_problem(value):
        raise OptbenchError(f"lr: {message}")
    ratio = batch_size / value["per_batch"]
    return float(value["base"] * (math.sqrt(ratio) if value.get("rule") == "sqrt" else ratio))


def rate_problem(value: Mapping[str, Any]) -> str:
    """Return an error message for an invalid mapping, "" for a valid one."""
    if not set(value) & set(_KEYS):
        kinds = f"one of {', '.join(KINDS)}, possibly with 'points'"
        return (
            f"expected a search space ({kinds}), as in {{log: [1e-4, 1]}}; found {', '.join(map(str, value))}"
        )
    for key in value:
        if key not in _KEYS:
            return f"unknown key '{key}'; {nearest(str(key), _KEYS)}"
    for key in ("base", "per_batch"):
        number = value.get(key)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < math.inf:
            return f"expected a number above 0 for '{key}', as in {{base: 0.1, per_batch: 256, rule: linear}}; found {format_value(number)}"
    if value.get("rule", "linear") not in RULES:
        return f"expected the rule linear or sqrt; found {format_value(value['rule'])}"
    return ""
