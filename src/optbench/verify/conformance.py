"""What a training loop may expect of an optimizer, asked of one plug-in: each check is one function, named as it is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from optbench.engine.state_memory import StateMemory, state_memory
from optbench.verify import checks_manners, checks_tensors, checks_training
from optbench.verify.bed import Fault, Note, Plugin, advance, limited, located, seed_everything, settings_kept

SECONDS = 120  # after which a check has failed: all together take a second or two
Outcome = Literal["pass", "fail", "note", "allowed"]


@dataclass(frozen=True)
class Verdict:
    """`note`: no fault, but worth knowing. `allowed`: a fault that the user said is meant."""

    check: str
    outcome: Outcome
    detail: str


def conformance(plugin: Plugin, allow: Sequence[str] = ()) -> list[Verdict]:
    """Every check's verdict, in order. What the plug-in raises is a fault of it."""
    return [_verdict(name, check, plugin, name in allow) for name, check in CHECKS.items()]


def bytes_per_parameter(plugin: Plugin) -> float | None:
    """Return the bytes of persistent state per fp32 parameter, after three steps on a 256 x 128 matrix."""
    size = persistent_state(plugin).bytes
    return None if size is None else size / (256 * 128)


def persistent_state(plugin: Plugin) -> StateMemory:
    """Measure the state after three steps on a 256 x 128 matrix."""
    valley = plugin.valley(shapes=((256, 128),))
    optimizer = plugin.build(valley)
    advance(plugin, valley, optimizer, range(3))
    return state_memory([optimizer], list(valley.parameters()), valley)


def _verdict(name: str, check: Callable[[Plugin], str], plugin: Plugin, allowed: bool) -> Verdict:
    outcome: Outcome = "pass"
    seed_everything(0)
    try:
        with settings_kept(), limited(SECONDS):
            detail = check(plugin)
    except Note as note:
        outcome, detail = "note", str(note)
    except Fault as fault:
        outcome, detail = "fail", str(fault)
    except (Exception, SystemExit) as error:
        outcome, detail = "fail", f"raises {located(error)}"
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
    "zero-grad": checks_manners.zero_grad,
    "alike": checks_manners.alike,
    "memory": checks_manners.memory,
    "side-effects": checks_manners.side_effects,
}
