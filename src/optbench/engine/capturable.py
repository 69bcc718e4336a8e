"""Decide which part of a step can be captured as a CUDA graph: a graph repeats its GPU work and none of the work on the host."""

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

#: a step is launch-bound if the device finishes in less than this share of the step's time after the last kernel launch
WAITING_SHARE = 1 / 3
#: torch's optimizers whose plain step reads the learning rate on the host, even if it is a tensor
_RATE_ON_HOST = {"forloop": ("SGD", "RMSprop", "Adadelta"), "foreach": ("SGD",)}
_DISPLAY_NAMES = {"forloop": "for-loop"}
_TRUSTED = ("optbench", "torch", "torchvision")  # packages whose models do the same operations at every step


def step_obstacle(session: Session) -> str:
    """Return why no part of this trial's steps can be captured, as a clause; empty if some part can."""
    trial, workload = session.trial, session.trial.workload
    if trial.cuda_graph == "off":
        return "the suite sets `cuda_graph: off`"
    if session.ranks.size > 1:
        return "the gradients of several devices are averaged during the backward pass"
    if session.optimizers.needs_closure:
        return "its optimizer calls a closure, any number of times per step"
    if session.optimizers.protocol.create_graph:
        return "its optimizer uses the graph of the gradients"
    if session.scaler is not None:
        return "in fp16 the gradient scaler decides on the host at each step whether to update"
    if workload.accumulate > 1:
        return "gradients are accumulated over micro-batches"
    if workload.relabel is not None:
        return "its labels change during training"
    if session.splits.train.stream is not None:
        return "its data are read on the host during training"
    if workload.activation_checkpointing:
        return "activation checkpointing resets the random generator in every step"
    if trial.cuda_graph == "auto":
        for family, component in (("models", workload.model), ("losses", workload.loss)):
            target = lookup.resolve(family, component.name, trial.folder)
            if target.kind == "file" or target.module.partition(".")[0] not in _TRUSTED:
                return f"{component.name} may differ from step to step; set `cuda_graph: on` if it does not"
    return ""


def update_obstacle(session: Session) -> str:
    """Return why the optimizers' update can't be part of the graph, as a clause; empty if it can. Both passes can still be captured."""
    optimizers = session.optimizers
    if changed := scheduled_beside_rate(session):
        return f"the schedule also changes its {changed}"
    for member, groups in zip(optimizers.members, optimizers.implementations(), strict=True):
        for group, implementation in zip(member.param_groups, groups, strict=True):
            if reason := _group_obstacle(member, group, implementation.name):
                return reason
    return ""


def is_torchs_own(member: torch.optim.Optimizer) -> bool:
    """Return whether its step is one of torch's, compiled or not."""
    return str(inspect.unwrap(type(member).step).__module__).startswith("torch.optim.")


def _group_obstacle(member: torch.optim.Optimizer, group: dict[str, Any], implementation: str) -> str:
    name = type(member).__name__
    if not is_torchs_own(member):
        return f"{name} is not a class of torch.optim, and its step may do work on the host"
    if isinstance(group.get("lr"), Tensor):
        return "its learning rate is already a tensor"
    if group.get("differentiable"):
        return "its step is differentiable"
    if implementation in ("fused", "compiled"):
        return ""  # step counts and learning rates are read on the device
    if name in _RATE_ON_HOST.get(implementation, ()):
        shown = _DISPLAY_NAMES.get(implementation, implementation)
        return f"torch's {shown} {name} reads its learning rate on the host"
    return "" if "capturable" in group else f"torch has no capturable {name}"


def is_launch_bound(waiting_shares: Sequence[float]) -> bool:
    """Return whether kernel launches are the bottleneck of a step.

    `waiting_shares`: per measured step, the share of its time in which the host had launched everything and waited for the device.
    If the device is the bottleneck, it is far behind by then; otherwise it has only the last kernels left.
    """
    return median(waiting_shares) < WAITING_SHARE


@dataclass
class DeviceRates:
    """Learning rates of parameter groups as device scalars, which a captured step reads."""

    rates: list[tuple[dict[str, Any], Tensor]] = field(default_factory=list)
    _written: dict[int, float] = field(default_factory=dict)  # by position

    def write(self) -> None:
        """Copy the groups' current learning rates to the device. Launches no kernel for rates that have not changed."""
        for position, (group, tensor) in enumerate(self.rates):
            rate = float(group["lr"])
            if self._written.get(position) != rate:
                self._written[position] = rate
                tensor.fill_(rate)


@contextmanager
def capturable(optimizers: Optimizers) -> Iterator[DeviceRates]:
    """Make torch's optimizers capturable within the block: step counts and learning rates on the device.

    Parameter groups are restored afterwards, so schedules and checkpoints are unaffected. Step counts stay on the device, where the
    graph changes them; if the block raises, they are restored too.
    """
    rates, before = DeviceRates(), [(g, dict(g)) for m in optimizers.members for g in m.param_groups]
    moved: list[tuple[dict[str, Any], str, Tensor]] = []
    try:
        for member in optimizers.members:
            for group in member.param_groups:
                device = group["params"][0].device
                moved += _move_counts(member, group)
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
        for group, original in before:
            group.update({key: original[key] for key in ("lr", "capturable") if key in original})


def _move_counts(
    member: torch.optim.Optimizer, group: dict[str, Any]
) -> list[tuple[dict[str, Any], str, Tensor]]:
    """Move step counts (0-d tensors of the state) to the device of their parameters; return the originals with their place."""
    originals = []
    for parameter in group["params"]:
        state = member.state.get(parameter, {})
        for key, value in state.items():
            if isinstance(value, Tensor) and value.dim() == 0 and value.device != parameter.device:
                originals.append((state, key, value))
                state[key] = value.to(parameter.device)
    return originals
