"""What can be captured of a step as a CUDA graph, and why not more: a graph repeats its work, whatever the host would have done."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from optbench.catalog import lookup
from optbench.engine.compile_warmup import scheduled_beside_rate
from optbench.engine.optimizers import Optimizers
from optbench.engine.session import Session

#: A step is bound by launching if, once the host has asked for all of it, the device is done in less than this share of its time.
WAITING_SHARE = 1 / 3
#: of torch's optimizers, those whose plain step takes the learning rate from the host, tensor or not
_RATE_ON_HOST = {"forloop": ("SGD", "RMSprop", "Adadelta"), "foreach": ("SGD",)}
_WORDS = {"forloop": "for-loop"}
_TRUSTED = ("optbench", "torch", "torchvision")  # packages whose models do the same at every step


def refusal(session: Session) -> str:
    """Why nothing of this trial's steps can be captured, as a clause; "" if something can."""
    trial, workload = session.trial, session.trial.workload
    if trial.cuda_graph == "off":
        return "the suite says `cuda_graph: off`"
    if session.optimizers.needs_closure:
        return "its optimizer evaluates the loss as often as it likes"
    if session.optimizers.protocol.create_graph:
        return "its optimizer differentiates the gradients"
    if session.scaler is not None:
        return "in fp16 the gradient scaler decides at each step whether there is an update"
    if workload.accumulate > 1:
        return "its gradients are accumulated over micro-batches"
    if workload.relabel is not None:
        return "its labels change on the way"
    if workload.activation_checkpointing:
        return "activation checkpointing goes back to an earlier state of the generator in every step"
    if trial.cuda_graph == "auto":
        for family, component in (("models", workload.model), ("losses", workload.loss)):
            target = lookup.resolve(family, component.name, trial.folder)
            if target.kind == "file" or target.module.partition(".")[0] not in _TRUSTED:
                return f"{component.name} may do other things at other steps; `cuda_graph: on` captures what it does at one"
    return ""


def left_outside(session: Session) -> str:
    """Why the optimizers' update can't be part of the graph, as a clause; "" if it can. Both passes can be captured all the same."""
    held = session.optimizers
    if changed := scheduled_beside_rate(session):
        return f"the schedule changes its {changed} too"
    for member, groups in zip(held.members, held.implementations(), strict=True):
        for group, runs in zip(member.param_groups, groups, strict=True):
            if reason := _left_outside(member, group, runs.name):
                return reason
    return ""


def is_torchs_own(member: torch.optim.Optimizer) -> bool:
    """Whether its step is one that torch wrote, compiled or not."""
    return str(inspect.unwrap(type(member).step).__module__).startswith("torch.optim.")


def _left_outside(member: torch.optim.Optimizer, group: dict[str, Any], runs: str) -> str:
    name = type(member).__name__
    if not is_torchs_own(member):
        return f"{name} is not torch's own, and nobody knows what its step does on the host"
    if isinstance(group.get("lr"), Tensor):
        return "its learning rate is a tensor already"
    if group.get("differentiable"):
        return "its step is differentiable"
    if runs in ("fused", "compiled"):
        return ""  # counts and rates are read on the device
    if name in _RATE_ON_HOST.get(runs, ()):
        return f"torch's {_WORDS.get(runs, runs)} {name} takes its learning rate from the host"
    return "" if "capturable" in group else f"torch has no capturable {name}"


def is_launch_bound(waiting: Sequence[float]) -> bool:
    """`waiting`: of steps measured one by one, the share of their time in which the host had asked for all of the step and waited for
    the device. A device that sets the pace is far behind by then; one that is kept waiting has only the last kernels to do.
    """
    return median(waiting) < WAITING_SHARE


@dataclass
class DeviceRates:
    """The learning rates of parameter groups, where a captured step reads them."""

    rates: list[tuple[dict[str, Any], Tensor]] = field(default_factory=list)
    _written: dict[int, float] = field(default_factory=dict)  # by position

    def write(self) -> None:
        """As the groups have them now. Launches nothing where they have not changed."""
        for position, (group, tensor) in enumerate(self.rates):
            rate = float(group["lr"])
            if self._written.get(position) != rate:
                self._written[position] = rate
                tensor.fill_(rate)


@contextmanager
def capturable(held: Optimizers) -> Iterator[DeviceRates]:
    """While a step is captured: torch's optimizers as they must be for that, counts and learning rates on the device.

    Afterwards parameter groups are as they were, so that neither schedules nor checkpoints meet anything new. Counts stay on the
    device, where the graph changes them; if the block raises, they are back as well.
    """
    rates, before = DeviceRates(), [(group, dict(group)) for m in held.members for group in m.param_groups]
    moved: list[tuple[dict[str, Any], str, Tensor]] = []
    try:
        for member in held.members:
            for group in member.param_groups:
                device = group["params"][0].device
                moved += _moved(member, group)
                if "capturable" in group:
                    group["capturable"] = True
                if group.get("lr") is not None:
                    tensor = torch.full((), float(group["lr"]), dtype=torch.float32, device=device)
                    rates.rates.append((group, tensor))
                    group["lr"] = tensor
        yield rates
    except BaseException:
        for state, key, value in moved:
            state[key] = value
        raise
    finally:
        for group, was in before:
            group.update({key: was[key] for key in ("lr", "capturable") if key in was})


def _moved(member: torch.optim.Optimizer, group: dict[str, Any]) -> list[tuple[dict[str, Any], str, Tensor]]:
    """Put counts (0-d tensors of the state) beside their parameters; what was moved, as it was."""
    found = []
    for parameter in group["params"]:
        state = member.state.get(parameter, {})
        for key, value in state.items():
            if isinstance(value, Tensor) and value.dim() == 0 and value.device != parameter.device:
                found.append((state, key, value))
                state[key] = value.to(parameter.device)
    return found
