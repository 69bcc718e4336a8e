"""Detect the protocol that an optimizer needs: from the entry's settings, its class, and steps on a toy problem."""

from __future__ import annotations

import ast
import inspect
import random
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optbench.catalog.closures import CLOSURE_NAMES, PASSES, rejects_none
from optbench.engine.protocol import Calls, Protocol, parameters_of, take_step
from optbench.errors import OptbenchError, first_line, is_user_interrupt
from optbench.suite.types import Optimizer

TOY_STEPS = 12  # some classes run their second pass at every tenth step only
_SEED = 0
_GRAPH = re.compile(r"create_graph|\bgrad\(")  # not `no_grad(` or `zero_grad(`
#: settings of an entry for each protocol, the simplest first
_SETTINGS = {
    Protocol(): "`closure: false`",
    Protocol("plain", create_graph=True): "`create_graph: true`",
    Protocol("closure"): "`closure: true`",
    Protocol("gradients_first"): "`closure: gradients_first`",
    Protocol("two_passes"): "`closure: gradients_first`",
    Protocol("loss_only"): "`closure: loss_only`",
    Protocol("closure", create_graph=True): "`closure: true` and `create_graph: true`",
    Protocol("gradients_first", create_graph=True): "`closure: gradients_first` and `create_graph: true`",
}
OPTBENCHS_CLOSURE = (
    "The closure of optbench takes no argument, sets the gradients to None, calls backward() and returns the loss without its graph "
    "(with `closure: loss_only`: returns the loss with its graph, and does not call backward())"
)

#: builds a new optimizer of the entry over a few small parameters
MakeToy = Callable[[], Any]
#: the parameters after each step and at each call of the closure, or the exception
Outcome = list[Tensor] | BaseException


def find_protocol(members: Sequence[Any], entry: Optimizer, make_toy: MakeToy) -> Protocol:
    """Return the protocol that the entry sets, else the one that its classes need.

    Raises `OptbenchError` for a class that needs other calls between steps: without them it would be another method.
    """
    for member in members:
        if method := _method_for_the_loop(member):
            raise OptbenchError(
                f"'{type(member).__name__}' expects the training loop to call {method}(), which optbench does not; "
                "call it in step(), in a subclass"
            )
    create_graph = entry.create_graph
    if create_graph is None:
        create_graph = any(_needs_graph(member, make_toy) for member in members)
    return Protocol(_calls(members, entry, make_toy, create_graph), create_graph)


def _calls(members: Sequence[Any], entry: Optimizer, make_toy: MakeToy, create_graph: bool) -> Calls:
    setting, first = entry.closure, members[0]
    if setting is False or (setting is None and not any(map(needs_closure, members))):
        return "plain"
    if setting == "loss_only":
        return "loss_only"
    if has_two_passes(first) and (_inherits_step(first) or not _takes_closure(first)):
        return "two_passes"
    if setting == "gradients_first":
        return "gradients_first"
    if _requires_loss(first) and not isinstance(
        try_protocol(make_toy, Protocol("with_loss", create_graph)), BaseException
    ):
        return "with_loss"
    if type(first).__module__.startswith("torch.optim"):
        return "closure"
    by_trial = calls_by_trial(make_toy, create_graph=create_graph)
    if by_trial == "closure" and entry.clip is None and reads_no_gradients(make_toy):
        return "loss_only"
    return by_trial or ("gradients_first" if has_two_passes(first) else "closure")


def _needs_graph(member: Any, make_toy: MakeToy) -> bool:
    """Return whether a class differentiates the gradients.

    It does if its attribute `is_second_order` is true, or if its source contains `create_graph` or calls `grad` and its steps on a toy
    problem raise without the graph.
    """
    if bool(getattr(member, "is_second_order", False)):
        return True
    if type(member).__module__.startswith("torch.optim") or not _GRAPH.search(_class_source(member)):
        return False
    plain, with_graph = (
        try_protocol(make_toy, Protocol("plain", create_graph)) for create_graph in (False, True)
    )
    return isinstance(plain, BaseException) and not isinstance(with_graph, BaseException)


def _class_source(member: Any) -> str:
    """Return the source of a class and of its bases outside of torch."""
    sources: list[str] = []
    for cls in type(member).__mro__:
        with suppress(OSError, TypeError):  # without source
            sources += [] if cls.__module__.startswith("torch.") else [inspect.getsource(cls)]
    return "\n".join(sources)


def setting_of(protocol: Protocol) -> str:
    """Return the settings of an entry for the protocol; empty for the plain one."""
    return "" if protocol == Protocol() else _SETTINGS.get(protocol, "")


def working_protocol(make_toy: MakeToy, protocol: Protocol) -> Protocol | None:
    """Return another protocol whose steps on a toy problem do not raise, if those of `protocol` do; else None."""
    if not isinstance(try_protocol(make_toy, protocol), BaseException):
        return None
    for other in _SETTINGS:
        if other != protocol and not isinstance(try_protocol(make_toy, other), BaseException):
            calls = calls_by_trial(make_toy, create_graph=other.create_graph) if other.has_closure else None
            return Protocol(calls or other.calls, other.create_graph)
    return None


def missing_setting(make_toy: MakeToy, protocol: Protocol, error: BaseException) -> str:
    """Return why a step raised `error`, if steps on a toy problem show that another protocol is needed; else an empty text.

    A failure unrelated to the protocol does not occur on a toy problem, or occurs with every protocol.
    """
    if not isinstance(try_protocol(make_toy, protocol), BaseException):
        return ""
    message = first_line(error).rstrip(".")
    raised = f"step() raised {type(error).__name__}{f': {message}' if message else ''}"
    other = working_protocol(make_toy, protocol)
    if other is not None:
        settings = " and ".join(_changed_settings(protocol, other))
        return f"{raised}. It works on a toy problem with {settings}: set this in the entry"
    return f"{raised}. {OPTBENCHS_CLOSURE}" if protocol.has_closure else ""


def _changed_settings(before: Protocol, after: Protocol) -> Iterator[str]:
    """Yield the settings that differ. `closure: true` is enough for every kind of closure: the kind is detected."""
    if after.has_closure or before.has_closure:
        yield "`closure: true`" if after.has_closure else "`closure: false`"
    if after.create_graph:
        yield "`create_graph: true`"


def needs_closure(member: Any) -> bool:
    """Return whether `step` needs a closure, by its signature and source, or the class has the two passes of SAM."""
    if has_two_passes(member):
        return True
    if _requires_loss(member):
        return True
    parameter = _first_parameter(member)
    if parameter is None or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return False
    if parameter.default is parameter.empty:
        return True
    node = _source(member.step) if parameter.name in CLOSURE_NAMES else None
    return node is not None and rejects_none(node, parameter.name)


def _requires_loss(member: Any) -> bool:
    """Return whether `step` has a parameter `loss` without a default, which may be the loss itself or a closure."""
    try:
        parameter = inspect.signature(member.step).parameters.get("loss")
    except (AttributeError, TypeError, ValueError):
        return False
    return parameter is not None and parameter.default is parameter.empty


def _method_for_the_loop(member: Any) -> str:
    """Return a method that the training loop must call since the class does not (`update_hessian` of SophiaG); empty if none."""
    for method in ("update_hessian",):
        with suppress(OSError, TypeError):  # without source
            sources = [inspect.getsource(cls) for cls in type(member).__mro__ if hasattr(cls, method)]
            if callable(getattr(member, method, None)) and not any(f"self.{method}(" in s for s in sources):
                return method
    return ""


def has_two_passes(member: Any) -> bool:
    """Return whether the class has the methods `first_step` and `second_step` of SAM."""
    return all(callable(getattr(member, name, None)) for name in PASSES)


def _inherits_step(member: Any) -> bool:
    """Return whether `step` is inherited from a class without the passes, so that it would be another method."""
    step, first = (_owner(type(member), name) for name in ("step", PASSES[0]))
    return step is not None and first is not None and step is not first and issubclass(first, step)


def _owner(cls: type, name: str) -> type | None:
    """Return the class that defines a method. torch wraps `step` again in the class of the first instance."""
    method = inspect.unwrap(getattr(cls, name, None) or _owner)
    same = [base for base in cls.__mro__ if name in vars(base) and inspect.unwrap(vars(base)[name]) is method]
    return same[-1] if same else None


def calls_by_trial(make_toy: MakeToy, *, create_graph: bool = False) -> Calls | None:
    """Return the calls with a closure that work on a toy problem; None if none do.

    A class whose steps depend on gradients before `step(closure)` gets "gradients_first".
    """

    def outcome(calls: Calls) -> Outcome:
        return try_protocol(make_toy, Protocol(calls, create_graph))

    closure_only, gradients_first = outcome("closure"), outcome("gradients_first")
    if not isinstance(gradients_first, BaseException):
        same = not isinstance(closure_only, BaseException) and _equal(closure_only, gradients_first)
        return "closure" if same else "gradients_first"
    if not isinstance(closure_only, BaseException):
        return "closure"
    others: tuple[Calls, ...] = ("two_passes", "loss_only")
    return next((calls for calls in others if not isinstance(outcome(calls), BaseException)), None)


def reads_no_gradients(make_toy: MakeToy) -> bool:
    """Return whether steps on a toy problem are the same with a closure that computes no gradients, as those of MeZO."""
    with_gradients, without = (try_protocol(make_toy, Protocol(calls)) for calls in ("closure", "loss_only"))
    if isinstance(with_gradients, BaseException) or isinstance(without, BaseException):
        return False
    return _equal(with_gradients, without)


def try_protocol(make_toy: MakeToy, protocol: Protocol) -> Outcome:
    """Take `TOY_STEPS` steps on a toy problem; steps that change no parameter are a failure. Random generators are unchanged."""
    with _seeded():
        try:
            return _steps(make_toy(), protocol)
        except BaseException as error:
            if is_user_interrupt(error):
                raise
            return error


def _steps(optimizer: Any, protocol: Protocol) -> list[Tensor]:
    """Minimise the distance of each parameter to a random target and the square of the sum of all; return the parameters visited."""
    parameters = parameters_of(optimizer)
    targets = [torch.randn_like(p) for p in parameters]
    points: list[Tensor] = []
    start = [p.detach().clone() for p in parameters]

    def loss() -> Tensor:
        apart = [((p - t).abs() ** 2).sum() for p, t in zip(parameters, targets, strict=True)]
        return (torch.stack(apart).sum() + torch.stack([p.sum() for p in parameters]).sum().abs() ** 2) / 2

    def note() -> None:
        points.extend(p.detach().clone() for p in parameters)

    if callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None)):
        optimizer.train()
    for _ in range(TOY_STEPS):
        take_step(optimizer, protocol, parameters, loss, note)
        note()
    if _equal(start, parameters):
        raise RuntimeError("the steps changed no parameter")
    return points


def _equal(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(ones) == len(others) and all(
        torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in zip(ones, others, strict=True)
    )


@contextmanager
def _seeded() -> Iterator[None]:
    states_before = random.getstate(), np.random.get_state()
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if started else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_SEED)
        random.seed(_SEED)
        np.random.seed(_SEED)
        try:
            yield
        finally:
            random.setstate(states_before[0])
            np.random.set_state(states_before[1])


def _takes_closure(member: Any) -> bool:
    parameter = _first_parameter(member)
    return parameter is not None and parameter.kind is not parameter.VAR_KEYWORD


def _first_parameter(member: Any) -> inspect.Parameter | None:
    try:
        return next(iter(inspect.signature(member.step).parameters.values()), None)
    except (AttributeError, TypeError, ValueError):
        return None


def _source(function: Any) -> ast.FunctionDef | None:
    plain = inspect.unwrap(function)
    plain = getattr(plain, "__func__", plain)
    return _parsed(plain) if isinstance(plain, FunctionType) else None


@lru_cache(maxsize=256)  # each trial of a stack has its own optimizer
def _parsed(function: FunctionType) -> ast.FunctionDef | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef)), None)
