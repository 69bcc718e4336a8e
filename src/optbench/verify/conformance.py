"""Conformance checks of a plug-in optimizer: what a training loop requires. Each check is one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from optbench.engine.state_memory import StateMemory, state_memory
from optbench.verify import checks_side_effects, checks_tensors, checks_training
from optbench.verify.toy_problem import (
    CheckFailed,
    CheckNote,
    Plugin,
    advance,
    format_error,
    preserve_settings,
    seed_everything,
    time_limit,
)

SECONDS = 120  # time limit of one check; all checks together take about two seconds
Outcome = Literal["pass", "fail", "note", "allowed"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check. `note`: no failure, but worth reporting. `allowed`: a failure that the user allowed."""

    check: str
    outcome: Outcome
    detail: str


def conformance(plugin: Plugin, allow: Sequence[str] = ()) -> list[Verdict]:
    """Run all checks and return their verdicts, in the order of `CHECKS`. An exception raised by the plug-in is a failure."""
    return [_verdict(name, check, plugin, name in allow) for name, check in CHECKS.items()]


def bytes_per_parameter(plugin: Plugin) -> float | None:
    """Return the bytes of persistent state per fp32 parameter, after three steps on a 256 x 128 matrix."""
    size = persistent_state(plugin).bytes
    return None if size is None else size / (256 * 128)


def persistent_state(plugin: Plugin) -> StateMemory:
    """Measure the state after three steps on a 256 x 128 matrix."""
    model = plugin.toy_model(shapes=((256, 128),))
    optimizer = plugin.build(model)
    advance(plugin, model, optimizer, range(3))
    return state_memory([optimizer], list(model.parameters()), model)


def _verdict(name: str, check: Callable[[Plugin], str], plugin: Plugin, allowed: bool) -> Verdict:
    outcome: Outcome = "pass"
    seed_everything(0)
    try:
        with preserve_settings(), time_limit(SECONDS):
            detail = check(plugin)
    except CheckNote as note:
        outcome, detail = "note", str(note)
    except CheckFailed as fault:
        outcome, detail = "fail", str(fault)
    except (Exception, SystemExit) as error:
        outcome, detail = "fail", f"raises {format_error(error)}"
    return Verdict(name, "allowed" if outcome == "fail" and allowed else outcome, detail)


CHECKS: dict[str, Callable[[Plugin], str]] = {
    "trains": checks_training.trains,
    "groups": checks_training.groups,
    "missing-gradients": checks_training.missing_gradients,
    "state-dict": checks_training.state_dict,
    "state-dict-bf16": checks_training.state_dict_bf16,
    "deterministic": checks_training.deterministic,
    "lr-0": checks_training.lr_zero,
    "schedule": checks_training.schedule,
    "weight-decay": checks_training.weight_decay,
    "dtype": checks_tensors.keeps_dtype,
    "zero-gradients": checks_tensors.zero_gradients,
    "one-element": checks_tensors.one_element,
    "scalar": checks_tensors.scalar,
    "bf16": checks_tensors.bf16,
    "channels-last": checks_tensors.channels_last,
    "closure": checks_tensors.closure,
    "gradients": checks_tensors.gradients,
    "zero-grad": checks_side_effects.zero_grad,
    "alike": checks_side_effects.alike,
    "memory": checks_side_effects.memory,
    "side-effects": checks_side_effects.side_effects,
}
