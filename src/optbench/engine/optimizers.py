"""The optimizers of one trial behind one face: whatever an optimizer needs of its own, the training step need not know."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from optbench.catalog import lookup
from optbench.catalog.closures import LOSS_ONLY_CLIP
from optbench.engine.checkpoint import is_disk_full
from optbench.engine.find_protocol import MakeToy, find_protocol, unmet_need
from optbench.engine.implementation import Implementation, construct, of_group
from optbench.engine.memory import is_out_of_memory
from optbench.engine.parameters import Parameter, route, small, trainable
from optbench.engine.protocol import Closure, Protocol, call_step
from optbench.errors import OptbenchError
from optbench.suite.scaling import is_scaled, scaled_rate
from optbench.suite.types import Rule, Trial


class OptimizerFault(Exception):
    """An exception raised inside the optimizer under test (its constructor or its step), kept as `__cause__`."""


class Optimizers:
    """One `torch.optim.Optimizer` a rule, stepped together, with the schedule applied to each group's own learning rate."""

    def __init__(
        self,
        members: Sequence[torch.optim.Optimizer],
        protocol: Protocol | None = None,
        notes: Sequence[str] = (),
        make_toy: MakeToy | None = None,
    ) -> None:
        """`protocol` is how they are called, `Protocol()` if not given. `notes` say, member by member, why its implementation is not
        the one that was asked for. `make_toy` builds the only one over small parameters."""
        self.members = tuple(members)
        self._notes = list(notes) or [""] * len(self.members)
        self._compiled = [False] * len(self.members)
        self.protocol = protocol or Protocol()
        self._make_toy = make_toy
        self.needs_closure = self.protocol.has_closure
        if self.needs_closure and len(self.members) > 1:
            raise OptbenchError(
                "an optimizer that needs a closure can't be one of several rules: each would train alone"
            )
        self._rates = [[_number(group.get("lr")) for group in member.param_groups] for member in self.members]
        self._modes = [
            m
            for m in self.members
            if callable(getattr(m, "train", None)) and callable(getattr(m, "eval", None))
        ]

    def scale_rates(self, multiplier: float) -> None:
        """Learning rate of every group = its own rate as given x `multiplier`."""
        for member, rates in zip(self.members, self._rates, strict=True):
            for group, rate in zip(member.param_groups, rates, strict=True):
                if rate is None:
                    if multiplier != 1.0:
                        raise OptbenchError(
                            f"{type(member).__name__} has no `lr` that a schedule could change; use `schedule: constant`"
                        )
                elif isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate * multiplier)
                else:
                    group["lr"] = rate * multiplier

    @property
    def rate(self) -> float:
        """The first group's learning rate as last set; NaN where there is none."""
        rate = _number(self.members[0].param_groups[0].get("lr"))
        return float("nan") if rate is None else rate

    def zero_grad(self) -> None:
        for member in self.members:
            member.zero_grad(set_to_none=True)

    def step(self, closure: Closure | None = None) -> Tensor | None:
        """One update. With a closure the loss that the optimizer returns, if it returns one."""
        returned = None
        for member in self.members:
            with blamed_on_optimizer():
                returned = call_step(member, self.protocol.calls, closure)
        return returned if isinstance(returned, Tensor) else None

    def unmet_need(self, fault: OptimizerFault) -> str:
        """What the entry must set for a step that raised `fault`; empty if that is not known."""
        if fault.__cause__ is None or self._make_toy is None:
            return ""
        return unmet_need(self._make_toy, self.protocol, fault.__cause__)

    @property
    def has_modes(self) -> bool:
        """Whether evaluation happens at other weights than training (`train()` and `eval()` on the optimizer)."""
        return bool(self._modes)

    def train(self) -> None:
        for member in self._modes:
            member.train()  # type: ignore[attr-defined]

    def eval(self) -> None:
        for member in self._modes:
            member.eval()  # type: ignore[attr-defined]

    def parameters(self) -> list[Tensor]:
        return [p for member in self.members for group in member.param_groups for p in group["params"]]

    def hyperparameters(self) -> list[dict[str, Any]]:
        """As resolved by the classes, one dict a parameter group, with the implementation of the step; plain JSON."""
        return [
            {"class": f"{type(member).__module__}.{type(member).__qualname__}"}
            | {key: _plain(value) for key, value in group.items() if key != "params"}
            | {"parameters": sum(p.numel() for p in group["params"])}
            | {"implementation": runs.name}
            | ({"implementation_note": runs.note} if runs.note else {})
            for member, groups in zip(self.members, self.implementations(), strict=True)
            for group, runs in zip(member.param_groups, groups, strict=True)
        ]

    def implementations(self) -> list[list[Implementation]]:
        """What runs, of each group of each member."""
        return [
            [
                Implementation("compiled" if compiled else of_group(member, group), note)
                for group in member.param_groups
            ]
            for member, compiled, note in zip(self.members, self._compiled, self._notes, strict=True)
        ]

    def note_implementation(self, position: int, *, compiled: bool, note: str = "") -> None:
        """Of a member whose step was compiled, or why it could not be."""
        self._compiled[position], self._notes[position] = compiled, note

    def state(self) -> list[dict[str, Any]]:
        return [member.state_dict() for member in self.members]

    def load_state(self, states: Sequence[dict[str, Any]]) -> None:
        for member, state in zip(self.members, states, strict=True):
            member.load_state_dict(state)
            _restore_types(member, state)


@contextmanager
def blamed_on_optimizer() -> Iterator[None]:
    """Mark what the optimizer under test raises as its own, but for running out of memory, which has a status of its own."""
    try:
        yield
    except OptbenchError:
        raise
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error) or is_disk_full(error):
            raise
        raise OptimizerFault from error


def build(trial: Trial, model: nn.Module, steps: int | None, batch_size: int = 1) -> Optimizers:
    """The entry's optimizers over the parameters of `model`, the model that is trained. `batch_size` is for rates that follow it.

    Raises `OptbenchError` if an optimizer holds anything but exactly the model's trainable parameters (rule 3).
    """
    parameters = trainable(model)
    rules = trial.entry.rules
    made = [
        _member(trial, position, mine, {"model": model, "total_steps": steps}, batch_size)
        for position, mine in enumerate(route(parameters, rules))
    ]
    members = [member for member, _ in made]

    def make_toy() -> torch.optim.Optimizer:
        return _toy(trial, model, parameters, {"total_steps": steps}, batch_size)

    protocol = find_protocol(members, trial.entry, make_toy)
    if protocol.calls == "loss_only" and trial.entry.clip is not None:
        raise OptbenchError(LOSS_ONLY_CLIP)
    optimizers = Optimizers(
        members, protocol, [note for _, note in made], make_toy if len(members) == 1 else None
    )
    wanted, held = {id(p.tensor) for p in parameters}, {id(p) for p in optimizers.parameters()}
    if wanted != held:
        missing = [p.name for p in parameters if id(p.tensor) not in held]
        what = (
            f"does not hold {', '.join(missing[:5])}" if missing else "holds tensors that are not the model's"
        )
        raise OptbenchError(
            f"the optimizer of '{trial.label}' {what}; it must hold the trained model's parameters, and only those"
        )
    return optimizers


def _member(
    trial: Trial, position: int, parameters: Sequence[Parameter], offered: dict[str, Any], batch_size: int
) -> tuple[torch.optim.Optimizer, str]:
    """With why it doesn't run in the implementation that was asked for."""
    rule = trial.entry.rules[position]
    factory = lookup.load(lookup.resolve("optimizers", rule.use, trial.folder))
    accepted = _parameters_of(factory)
    arguments = {
        key: tuple(v) if isinstance(v, list) else v
        for key, v in {**rule.arguments, **_swept(trial, position)}.items()
    }
    rate: Any = arguments.get("lr")
    if is_scaled(rate):
        arguments["lr"] = scaled_rate(rate, batch_size)
    arguments |= {key: value for key, value in offered.items() if key in accepted and key not in arguments}
    with blamed_on_optimizer():
        made, note = construct(
            factory,
            _groups(trial, rule, parameters, accepted),
            arguments,
            trial.implementation,
            accepted,
        )
    if not isinstance(made, torch.optim.Optimizer) and not hasattr(made, "param_groups"):
        raise OptbenchError(f"`{rule.use}` gave {type(made).__name__}; expected a torch.optim.Optimizer")
    return made, note


def _toy(
    trial: Trial,
    model: nn.Module,
    parameters: Sequence[Parameter],
    offered: dict[str, Any],
    batch_size: int,
) -> torch.optim.Optimizer:
    """The entry's first optimizer over small parameters on the CPU, or over a copy of the model where the class takes that."""
    if "model" in _parameters_of(
        lookup.load(lookup.resolve("optimizers", trial.entry.rules[0].use, trial.folder))
    ):
        copied = copy.deepcopy(model).cpu()
        return _member(trial, 0, trainable(copied), {"model": copied, **offered}, batch_size)[0]
    return _member(trial, 0, small(parameters), offered, batch_size)[0]


def _swept(trial: Trial, position: int) -> dict[str, Any]:
    """What a sweep sets for the rule at `position`: `0.lr` is the first rule's, plain names are an only rule's."""
    if len(trial.entry.rules) == 1:
        return trial.point
    own = f"{position}."
    return {key.removeprefix(own): value for key, value in trial.point.items() if key.startswith(own)}


def _groups(trial: Trial, rule: Rule, parameters: Sequence[Parameter], accepted: set[str]) -> list[Any]:
    """A flat list of parameters, or two groups where some are exempt from weight decay."""
    exempt = [p.tensor for p in parameters if p.exempt(trial.entry.no_weight_decay or ())]
    if not exempt or not ("weight_decay" in accepted or "weight_decay" in rule.arguments):
        return [p.tensor for p in parameters]
    decayed = [p.tensor for p in parameters if not p.exempt(trial.entry.no_weight_decay or ())]
    return ([{"params": decayed}] if decayed else []) + [{"params": exempt, "weight_decay": 0.0}]


def _parameters_of(factory: Any) -> set[str]:
    try:
        return set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return set()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else f"tensor{tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _restore_types(member: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """`load_state_dict` casts state to the parameter's type; exact resume wants the type that was saved."""
    order = [p for group in member.param_groups for p in group["params"]]
    for index, saved in state["state"].items():
        if not isinstance(index, int) or not isinstance(saved, dict):
            continue
        live = member.state[order[index]]
        for key, value in saved.items():
            if (
                isinstance(value, Tensor)
                and isinstance(live.get(key), Tensor)
                and live[key].dtype != value.dtype
            ):
                live[key] = value.to(live[key].device)
