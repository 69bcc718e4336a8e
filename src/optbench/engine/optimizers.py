"""The optimizers of one trial behind one face: whatever an optimizer needs of its own, the training step need not know."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from optbench.catalog.closures import LOSS_ONLY_CLIP
from optbench.engine.checkpoint import is_disk_full
from optbench.engine.find_protocol import MakeToy, find_protocol, unmet_need
from optbench.engine.implementation import Implementation, of_group
from optbench.engine.memory import is_out_of_memory
from optbench.engine.optimizer_spec import ConstructorInputs, OptimizerSpec, make_optimizer_spec
from optbench.engine.parameters import Parameter, route, small, trainable
from optbench.engine.protocol import Closure, Protocol, call_step, zero_gradients
from optbench.errors import OptbenchError, is_user_interrupt
from optbench.suite.nested import replaced
from optbench.suite.types import Trial


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
            with blamed_on_optimizer():
                zero_gradients(member)

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
            with blamed_on_optimizer():
                member.train()  # type: ignore[attr-defined]

    def eval(self) -> None:
        for member in self._modes:
            with blamed_on_optimizer():
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
        load_states(self.members, states)


@contextmanager
def blamed_on_optimizer() -> Iterator[None]:
    """Raise `OptimizerFault` for every exception of the optimizer under test, `SystemExit` and `KeyboardInterrupt` too.

    Not for running out of memory, which has a status of its own, a full disk, and Ctrl-C of the user.
    """
    try:
        yield
    except OptbenchError:
        raise
    except BaseException as error:
        if is_out_of_memory(error) or is_disk_full(error) or is_user_interrupt(error):
            raise
        raise OptimizerFault from error


def build(
    trial: Trial,
    model: nn.Module,
    steps: int | None,
    batch_size: int = 1,
    protocol: Protocol | None = None,
) -> Optimizers:
    """The entry's optimizers over the parameters of `model`, the model that is trained. `batch_size` is for rates that follow it.
    `protocol` is how they are called, found out if it is not given.

    Raises `OptbenchError` if an optimizer holds anything but exactly the model's trainable parameters (rule 3).
    """
    parameters = trainable(model)
    if not parameters:
        raise OptbenchError(
            f"model {trial.workload.model.name} has no parameter that can be trained (requires_grad is False for all)"
        )
    specs = [_spec(trial, position, batch_size) for position in range(len(trial.entry.rules))]
    made = [
        _member(trial, spec, mine, model, steps)
        for spec, mine in zip(specs, route(parameters, trial.entry.rules), strict=True)
    ]
    members = [member for member, _ in made]

    def make_toy() -> Any:
        return _toy(trial, specs[0], model, parameters, steps)

    protocol = protocol or find_protocol(members, trial.entry, make_toy)
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


def _spec(trial: Trial, position: int, batch_size: int) -> OptimizerSpec:
    rule = trial.entry.rules[position]
    arguments = replaced(rule.arguments, _swept(trial, position))
    spec = make_optimizer_spec(rule.use, arguments, trial.folder, batch_size)
    if spec.makes_own_groups and len(trial.entry.rules) > 1:
        raise OptbenchError(f"'{rule.use}' takes the whole model, so it can't be one of several rules")
    return spec


def _member(
    trial: Trial, spec: OptimizerSpec, parameters: Sequence[Parameter], model: nn.Module, steps: int | None
) -> tuple[Any, str]:
    """With why it doesn't run in the implementation that was asked for."""
    given = ConstructorInputs(
        _groups(trial, spec, parameters), [(p.name, p.tensor) for p in parameters], model, steps
    )
    with blamed_on_optimizer():
        made, note = spec.build(given, trial.implementation)
    if not hasattr(made, "param_groups") or not callable(getattr(made, "step", None)):
        raise OptbenchError(
            f"`{spec.use}` gave {type(made).__name__}; expected an optimizer: an object with param_groups and step(), as "
            "torch.optim.Optimizer has them"
        )
    return made, note


def _toy(
    trial: Trial, spec: OptimizerSpec, model: nn.Module, parameters: Sequence[Parameter], steps: int | None
) -> Any:
    """The entry's first optimizer over small parameters, or over a copy of the model where the class takes that."""
    if not spec.takes_model:
        return _member(trial, spec, small(parameters), model, steps)[0]
    copied = copy.deepcopy(model)
    return _member(trial, spec, trainable(copied), copied, steps)[0]


def _swept(trial: Trial, position: int) -> dict[str, Any]:
    """What a sweep sets for the rule at `position`: `0.lr` is the first rule's, plain names are an only rule's."""
    if len(trial.entry.rules) == 1:
        return trial.point
    own = f"{position}."
    return {key.removeprefix(own): value for key, value in trial.point.items() if key.startswith(own)}


def _groups(trial: Trial, spec: OptimizerSpec, parameters: Sequence[Parameter]) -> list[Any]:
    """A flat list of parameters, or two groups where some are exempt from weight decay."""
    exempt = [p.tensor for p in parameters if p.exempt(trial.entry.no_weight_decay or ())]
    if not exempt or not spec.takes("weight_decay"):
        return [p.tensor for p in parameters]
    if spec.makes_own_groups:
        raise OptbenchError(
            f"'{spec.use}' makes its own parameter groups, so no_weight_decay can't be applied; expected 'no_weight_decay: []'"
        )
    decayed = [p.tensor for p in parameters if not p.exempt(trial.entry.no_weight_decay or ())]
    return ([{"params": decayed}] if decayed else []) + [{"params": exempt, "weight_decay": 0.0}]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else f"tensor{tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def load_states(members: Sequence[Any], states: Sequence[Any]) -> None:
    """Load the state of each optimizer; tensors keep the type that was saved, which `load_state_dict` changes to the parameter's."""
    for member, state in zip(members, states, strict=True):
        member.load_state_dict(state)
        _restore_types(member, state)


def _restore_types(member: Any, state: Any) -> None:
    """Undo the casts of torch's `load_state_dict`; a `state_dict` of another shape is left to the class."""
    by_index = state.get("state") if isinstance(state, dict) else None
    if not isinstance(by_index, dict) or not isinstance(getattr(member, "state", None), dict):
        return
    order = [p for group in member.param_groups for p in group["params"]]
    for index, saved in by_index.items():
        if not isinstance(index, int) or not 0 <= index < len(order) or not isinstance(saved, dict):
            continue
        live = member.state.get(order[index])
        if isinstance(live, dict):
            _retyped(live, saved)


def _retyped(live: Any, saved: Any) -> Any:
    """Return `live`, changed in place where it can be, with the tensors of `saved` where the types differ."""
    if isinstance(live, Tensor) and isinstance(saved, Tensor):
        return live if live.dtype == saved.dtype else saved.to(live.device)
    if isinstance(live, dict) and isinstance(saved, dict):
        live.update({key: _retyped(live[key], value) for key, value in saved.items() if key in live})
    elif type(live) is type(saved) is list:
        live[:] = map(_retyped, live, saved)
    elif type(live) is type(saved) is tuple:
        return tuple(map(_retyped, live, saved))
    return live
