"""Check that all trials of a table are measured in one environment (decision 2 of the design)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from optbench.errors import OptbenchError
from optbench.events import FINGERPRINT
from optbench.executor.api import Slot, first_difference
from optbench.store import StoredSuite

ADVICE_TO_RUN = "Use another --results folder, --fresh to rerun all trials, or --allow-mixed to accept it (the report states it)"
ADVICE_TO_WORKER = "Use a machine with equal devices and versions, or plan the suite with --allow-mixed to accept it (the report states it)"


def refuse_to_mix(
    stored: StoredSuite, rows: Collection[str], environment: dict[str, Any], advice: str = ADVICE_TO_RUN
) -> None:
    """Raise `OptbenchError` with `advice` if a stored trial of `rows` (config ids) ran in another environment."""
    for log in (log for suite in stored.read().suites for log in suite.logs):
        if log.config_id not in rows or log.started is None or not log.evaluations:
            continue
        recorded = log.started.environment
        names = [name for name in FINGERPRINT if name != "threads" or log.was_alone]
        different = [name for name in names if name in recorded and recorded[name] != environment.get(name)]
        if different:
            changes = ", ".join(
                f"{name} was {recorded[name]!r}, now {environment.get(name)!r}" for name in different
            )
            message = f"measured in another environment: {changes}. The table would mix both. {advice}"
            raise OptbenchError(message, file=str(log.path))


def refuse_unequal(slots: Sequence[Slot]) -> None:
    """Raise `OptbenchError` if the devices of a run are not of one kind."""
    if (found := first_difference(slots, FINGERPRINT)) is not None:
        slot, name = found
        values = [one.environment.get(name) for one in (slots[0], slot)]
        message = (
            f"{slots[0].name} and {slot.name} differ: {name} is {values[0]!r} and {values[1]!r}. The table would mix both. Use "
            "equal devices and versions, or --allow-mixed to accept it (the report states it)"
        )
        raise OptbenchError(message, where="--device")
