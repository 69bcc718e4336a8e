"""The optimizers of one trial behind one interface, independent of what a single optimizer requires."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from optbench.catalog.closures import LOSS_ONLY_CLIP
from optbench.engine.checkpoint import is_disk_full
from optbench.engine.find_protocol import MakeToy, find_protocol, missing_setting, try_protocol
from optbench.engine.group_flags import missing_flag, missing_groups
from optbench.engine.implementation import Implementation, implementation_of
from optbench.engine.memory import is_out_of_memory
from optbench.engine.optimizer_spec import ConstructorInputs, Length, OptimizerSpec, make_optimizer_spec
from optbench.engine.parameters import Parameter, assign_parameters, small_copies, trainable
from optbench.engine.protocol import (
    Closure,
    Protocol,
    call_step,
    clear_gradients,
    parameters_of,
    zero_gradients,
)
from optbench.engine.sparse_gradients import unsupported_decay
from optbench.errors import OptbenchError, describe_error, first_line, is_user_interrupt
from optbench.suite.nested_optimizers import replaced
from optbench.suite.types import Group, Trial

_NO_DRIVER = "active drivers ([])"  # Triton's error on a machine without a GPU


class OptimizerFault(Exception):
    """An exception raised inside the optimizer under test (its constructor or its step), which is its `__cause__`."""


class Optimizers:
    """One `torch.optim.Optimizer` per rule, stepped together, with the schedule applied to each group's own learning rate."""

    def __init__(
        self,
        members: Sequence[torch.optim.Optimizer],
        protocol: Protocol | None = None,
        notes: Sequence[str] = (),
        make_toy: MakeToy | None = None,
        missing_rules: Callable[[Protocol], str] = lambda protocol: "",
    ) -> None:
        """`protocol` is how they are called, `Protocol()` by default. `notes` has for each member the reason why its implementation is
        not the requested one. `make_toy` builds a single optimizer over small parameters. `missing_rules` returns what the entry must
        set for a class that works with matrices only.
        """
        self.members = tuple(members)
        self._notes = list(notes) or [""] * len(self.members)
        self._compiled = [False] * len(self.members)
        self._elements: dict[int, int] = {}  # by group, of which `keep` left a part
        self._left_out: list[Tensor] = []
        self.protocol = protocol or Protocol()
        self._make_toy, self._missing_rules = make_toy, missing_rules
        self.needs_closure = self.protocol.has_closure
        if self.needs_closure and len(self.members) > 1:
            raise OptbenchError(
                "an optimizer that needs a closure can't be one of several rules: the rules would not step together"
            )
        self._rates = [[_number(group.get("lr")) for group in member.param_groups] for member in self.members]
        self._modes = [
            m
            for m in self.members
            if callable(getattr(m, "train", None)) and callable(getattr(m, "eval", None))
        ]

    def scale_rates(self, multiplier: float) -> None:
        """Set the learning rate of every group to its initial rate times `multiplier`."""
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
        """The first group's current learning rate; NaN if it has none."""
        rate = _number(self.members[0].param_groups[0].get("lr"))
        return float("nan") if rate is None else rate

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None, also of those that `keep` removed."""
        for member in self.members:
            with raise_as_optimizer_fault():
                zero_gradients(member)
        clear_gradients(self._left_out)

    def step(self, closure: Closure | None = None) -> Tensor | None:
        """Take one step. With a closure, return the loss that the optimizer returns, if any."""
        returned = None
        for member in self.members:
            with raise_as_optimizer_fault():
                returned = call_step(member, self.protocol.calls, closure)
        return returned if isinstance(returned, Tensor) else None

    def missing_setting(self, fault: OptimizerFault) -> str:
        """Return what the entry must set for a step that raised `fault`; empty if unknown."""
        if fault.__cause__ is None:
            return ""
        groups = [group for member in self.members for group in member.param_groups]
        if any(group.get("weight_decay") for group in groups) and (
            setting := unsupported_decay(fault.__cause__)
        ):
            return setting
        if self._make_toy is None:
            return ""
        if _NO_DRIVER in first_line(fault.__cause__):
            return (
                f"step() raised {describe_error(fault.__cause__)} Its Triton kernels require a GPU: set `triton: false` in the entry "
                "if the class has this argument"
            )
        setting = missing_setting(self._make_toy, self.protocol, fault.__cause__)
        return setting or self._missing_rules(self.protocol)

    def ignores_rate(self) -> bool:
        """Return whether steps of a single optimizer on a toy problem are the same at a tenth of its learning rate."""
        if self._make_toy is None:
            return False
        make_toy = self._make_toy

        def make_slower() -> Any:
            optimizer = make_toy()
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * 0.1
            return optimizer

        points, slower = (try_protocol(make, self.protocol) for make in (make_toy, make_slower))
        if isinstance(points, BaseException) or isinstance(slower, BaseException):
            return False
        return len(points) == len(slower) and all(map(torch.equal, points, slower))

    @property
    def has_modes(self) -> bool:
        """Whether evaluation uses other weights than training (`train()` and `eval()` of the optimizer)."""
        return bool(self._modes)

    def train(self) -> None:
        """Switch optimizers with modes to the weights for training."""
        for member in self._modes:
            with raise_as_optimizer_fault():
                member.train()  # type: ignore[attr-defined]

    def eval(self) -> None:
        """Switch optimizers with modes to the weights for evaluation."""
        for member in self._modes:
            with raise_as_optimizer_fault():
                member.eval()  # type: ignore[attr-defined]

    def parameters(self) -> list[Tensor]:
        """Return the parameters of all groups."""
        return [p for member in self.members for p in parameters_of(member)]

    def keep(self, parameters: Sequence[Tensor]) -> None:
        """Leave only these parameters in the groups. `hyperparameters` and `zero_grad` still include all."""
        kept_ids = {id(parameter) for parameter in parameters}
        for group in (group for member in self.members for group in member.param_groups):
            self._elements[id(group)] = sum(p.numel() for p in group["params"])
            self._left_out += [p for p in group["params"] if id(p) not in kept_ids]
            group["params"] = [p for p in group["params"] if id(p) in kept_ids]

    def hyperparameters(self) -> list[dict[str, Any]]:
        """Return the hyperparameters as resolved by the classes, one dict per parameter group, with the implementation; plain JSON."""
        return [
            {"class": f"{type(member).__module__}.{type(member).__qualname__}"}
            | {key: _plain(value) for key, value in group.items() if key != "params"}
            | {"parameters": self._elements.get(id(group)) or sum(p.numel() for p in group["params"])}
            | {"implementation": used.name}
            | ({"implementation_note": used.note} if used.note else {})
            for member, groups in zip(self.members, self.implementations(), strict=True)
            for group, used in zip(member.param_groups, groups, strict=True)
        ]

    def implementations(self) -> list[list[Implementation]]:
        """Return the implementation of each parameter group, per member."""
        return [
            [
                Implementation("compiled" if compiled else implementation_of(member, group), note)
                for group in member.param_groups
            ]
            for member, compiled, note in zip(self.members, self._compiled, self._notes, strict=True)
        ]

    def note_implementation(self, position: int, *, compiled: bool, note: str = "") -> None:
        """Record that a member's step was compiled, or in `note` why it could not be."""
        self._compiled[position], self._notes[position] = compiled, note

    def state(self) -> list[dict[str, Any]]:
        """Return the `state_dict` of each optimizer."""
        return [member.state_dict() for member in self.members]

    def load_state(self, states: Sequence[dict[str, Any]]) -> None:
        """Load what `state` returned."""
        load_states(self.members, states)


@contextmanager
def raise_as_optimizer_fault() -> Iterator[None]:
    """Raise `OptimizerFault` for every exception of the optimizer under test, `SystemExit` and `KeyboardInterrupt` too.

    Exceptions for lack of memory (a separate status), a full disk and the user's Ctrl-C are passed on unchanged.
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
    samples: int = 1000,
) -> Optimizers:
    """Return the entry's optimizers over the parameters of `model`, the trained model.

    `batch_size` is for learning rates that scale with it, `samples` (of the training split) for classes that require it. `protocol` is
    how the optimizers are called; it is detected by default.
    Raises `OptbenchError` if the optimizers' parameters are not exactly the model's trainable parameters (rule 3).
    """
    parameters = trainable(model)
    if not parameters:
        raise OptbenchError(
            f"model {trial.workload.model.name} has no trainable parameters (requires_grad is False for all)"
        )
    length = Length(steps, samples, max(1, samples // batch_size))
    specs = [_spec(trial, position, batch_size) for position in range(len(trial.entry.rules))]

    def missing_rules(protocol: Protocol) -> str:
        return _missing_rules(trial, specs, model, parameters, length, protocol)

    try:
        built = [
            _member(trial, position, spec, of_rule, model, length)
            for position, (spec, of_rule) in enumerate(
                zip(specs, assign_parameters(parameters, trial.entry.rules), strict=True)
            )
        ]
    except OptimizerFault as fault:
        if setting := missing_rules(Protocol()) or _missing_groups(trial, specs, fault):
            raise OptbenchError(setting) from fault
        raise
    members = [member for member, _ in built]

    def make_toy() -> Any:
        return _toy(trial, specs[0], model, parameters, length)

    protocol = protocol or find_protocol(members, trial.entry, make_toy)
    if protocol.calls == "loss_only" and trial.entry.clip is not None:
        raise OptbenchError(LOSS_ONLY_CLIP)
    optimizers = Optimizers(
        members, protocol, [note for _, note in built], make_toy if len(members) == 1 else None, missing_rules
    )
    expected, actual = {id(p.tensor) for p in parameters}, {id(p) for p in optimizers.parameters()}
    if expected != actual:
        missing = [p.name for p in parameters if id(p.tensor) not in actual]
        difference = (
            f"does not contain {', '.join(missing[:5])}"
            if missing
            else "contains tensors that are not the model's"
        )
        raise OptbenchError(
            f"the optimizer of '{trial.label}' {difference}; expected exactly the trained model's parameters"
        )
    return optimizers


def _spec(trial: Trial, position: int, batch_size: int) -> OptimizerSpec:
    rule = trial.entry.rules[position]
    arguments = replaced(rule.arguments, _swept(trial, position))
    spec = make_optimizer_spec(rule.use, arguments, trial.folder, batch_size)
    if spec.makes_own_groups and len(trial.entry.rules) > 1:
        raise OptbenchError(f"'{rule.use}' requires the whole model, so it can't be one of several rules")
    return spec


def _member(
    trial: Trial,
    position: int,
    spec: OptimizerSpec,
    parameters: Sequence[Parameter],
    model: nn.Module,
    length: Length,
) -> tuple[Any, str]:
    """Return the optimizer of the rule at `position`, and why its implementation is not the requested one."""
    inputs = ConstructorInputs(
        _groups(trial, position, spec, parameters), [(p.name, p.tensor) for p in parameters], model, length
    )
    with raise_as_optimizer_fault():
        member, note = spec.build(inputs, trial.implementation)
    if not hasattr(member, "param_groups") or not callable(getattr(member, "step", None)):
        raise OptbenchError(
            f"`{spec.use}` returned {type(member).__name__}; expected an optimizer: an object with param_groups and step(), like "
            "torch.optim.Optimizer"
        )
    return member, note


def _toy(
    trial: Trial, spec: OptimizerSpec, model: nn.Module, parameters: Sequence[Parameter], length: Length
) -> Any:
    """Return the entry's first optimizer over small parameters, or over a copy of the model if the class requires a model."""
    if not spec.takes_model:
        return _member(trial, 0, spec, small_copies(parameters), model, length)[0]
    copied = copy.deepcopy(model)
    return _member(trial, 0, spec, trainable(copied), copied, length)[0]


def _missing_groups(trial: Trial, specs: Sequence[OptimizerSpec], fault: OptimizerFault) -> str:
    """Return the groups that an entry needs if its class looks up a flag `use_...` in groups, but got parameters; else empty."""
    if len(specs) > 1 or trial.entry.rules[0].groups:
        return ""
    flag = missing_flag(specs[0].factory, fault.__cause__)
    return missing_groups(specs[0].use, flag) if flag else ""


def _missing_rules(
    trial: Trial,
    specs: Sequence[OptimizerSpec],
    model: nn.Module,
    parameters: Sequence[Parameter],
    length: Length,
    protocol: Protocol,
) -> str:
    """Return the rules that an entry needs if its class works on a toy problem of matrices but not on one of all parameters; else empty."""
    matrices = [p for p in parameters if p.tensor.dim() == 2]
    others = [p.name for p in parameters if p.tensor.dim() != 2]
    if len(specs) > 1 or specs[0].takes_model or not matrices or not others or trial.entry.rules[0].groups:
        return ""

    def works_on(some: Sequence[Parameter]) -> bool:
        def make_toy() -> Any:
            return _member(trial, 0, specs[0], small_copies(some), model, length)[0]

        return not isinstance(try_protocol(make_toy, protocol), BaseException)

    if works_on(parameters) or not works_on(matrices):
        return ""
    use, more = specs[0].use, ", ..." * (len(others) > 3)
    return (
        f"'{use}' accepts matrices only; {len(others)} of {len(parameters)} parameter tensors are not ({', '.join(others[:3])}{more}). "
        f"Use rules: `use: [{{parameters: matrices, use: {use}}}, {{parameters: rest, use: adamw, lr: 1e-3}}]`"
    )


def _swept(trial: Trial, position: int) -> dict[str, Any]:
    """Return the swept values of the rule at `position`: `0.lr` belongs to the first rule, plain names to a single rule."""
    if len(trial.entry.rules) == 1:
        return trial.point
    prefix = f"{position}."
    return {key.removeprefix(prefix): value for key, value in trial.point.items() if key.startswith(prefix)}


def _groups(trial: Trial, position: int, spec: OptimizerSpec, parameters: Sequence[Parameter]) -> list[Any]:
    """Return a flat list of parameters, or the rule's groups, each divided in two if some of it is exempt from weight decay."""
    groups = trial.entry.rules[position].groups
    kinds = trial.entry.no_weight_decay or ()
    has_exempt = any(p.is_exempt(kinds) for p in parameters) and spec.takes("weight_decay")
    if not groups and not has_exempt:
        return [p.tensor for p in parameters]
    if spec.makes_own_groups:
        setting, expected = (
            ("groups", "no 'groups'") if groups else ("no_weight_decay", "'no_weight_decay: []'")
        )
        raise OptbenchError(
            f"'{spec.use}' creates its own parameter groups, so {setting} can't be applied; expected {expected}"
        )
    settings = [_group_settings(trial, position, group) for group in groups] or [{}]
    written: list[dict[str, Any]] = []
    for values, part in zip(
        settings, assign_parameters(parameters, groups) if groups else [parameters], strict=True
    ):
        exempt = [p.tensor for p in part if has_exempt and p.is_exempt(kinds)]
        decayed = [p.tensor for p in part if not (has_exempt and p.is_exempt(kinds))]
        if decayed:
            written.append({"params": decayed, **values})
        if exempt:
            written.append({"params": exempt, **values, "weight_decay": 0.0})
    return written


def _group_settings(trial: Trial, position: int, group: Group) -> dict[str, Any]:
    """Return the values of a group. A swept hyperparameter keeps its ratio to the optimizer's argument of that name."""
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in group.arguments.items()}
    arguments = trial.entry.rules[position].arguments
    for name, value in _swept(trial, position).items():
        if name in values:
            values[name] *= value / arguments[name]
    return values


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else f"tensor{tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def load_states(members: Sequence[Any], states: Sequence[Any]) -> None:
    """Load the state of each optimizer; tensors keep their saved dtype, which `load_state_dict` would cast to the parameter's."""
    for member, state in zip(members, states, strict=True):
        member.load_state_dict(state)
        _restore_types(member, state)


def _restore_types(member: Any, state: Any) -> None:
    """Undo the casts of torch's `load_state_dict`; a `state_dict` of another structure is left to the class."""
    by_index = state.get("state") if isinstance(state, dict) else None
    if not isinstance(by_index, dict) or not isinstance(getattr(member, "state", None), dict):
        return
    order = parameters_of(member)
    for index, saved in by_index.items():
        if not isinstance(index, int) or not 0 <= index < len(order) or not isinstance(saved, dict):
            continue
        live = member.state.get(order[index])
        if isinstance(live, dict):
            _retyped(live, saved)


def _retyped(live: Any, saved: Any) -> Any:
    """Return `live`, changed in place if possible, with the tensors of `saved` where the dtypes differ."""
    if isinstance(live, Tensor) and isinstance(saved, Tensor):
        return live if live.dtype == saved.dtype else saved.to(live.device)
    if isinstance(live, dict) and isinstance(saved, dict):
        live.update({key: _retyped(live[key], value) for key, value in saved.items() if key in live})
    elif type(live) is type(saved) is list:
        live[:] = map(_retyped, live, saved)
    elif type(live) is type(saved) is tuple:
        return tuple(map(_retyped, live, saved))
    return live
