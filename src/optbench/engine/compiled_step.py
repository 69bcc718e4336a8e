"""torch's optimizers with the arithmetic of their step compiled and everything around it left as it is.

Each class of `torch.optim` gathers its state in Python and hands it to one function (`adam`, `rmsprop`, ...) that does the
arithmetic. That function alone is compiled: state, checkpoints, groups and closures stay torch's own, so that a trial can go on
from a checkpoint with or without the compiler, and what was compiled for copies of the parameters holds for the parameters.
"""

from __future__ import annotations

import inspect
import types
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Update = Callable[..., None]

#: of torch's own, with the reason
_REFUSED = {
    "Adafactor": "its step reads numbers back out of tensors",
    "Muon": "its iterations are in bfloat16 and round at other places when compiled",
}
_OURS = ("foreach", "fused", "capturable")  # options that are given here, whatever the member has
_MOST_GROUPS = 256  # parameter groups with shapes of their own, each compiled for itself


class NotCompilable(Exception):
    """Why a step stays as torch wrote it: one clause."""


class CompiledStep:
    """Runs in the place of `member.step` once `install` has put it there."""

    def __init__(self, member: torch.optim.Optimizer, backend: Any = "inductor") -> None:
        """Raises `NotCompilable`."""
        self._plain, original, name = _update_of(member)
        self._compiled: Update = torch.compile(self._plain, fullgraph=True, dynamic=False, backend=backend)
        self._names = tuple(inspect.signature(self._plain).parameters)
        self._rates: dict[torch.device, Tensor] = {}
        self._exact: dict[tuple[int, torch.device], list[Tensor]] = {}
        self._known: set[tuple[Any, ...]] = set()
        self._learning = False
        stepped = types.FunctionType(
            original.__code__,
            {**original.__globals__, name: self._update},
            original.__name__,
            original.__defaults__,
            original.__closure__,
        )

        def step(member: torch.optim.Optimizer, closure: Any = None) -> Any:
            counts_beside_parameters(member)
            return stepped(member, closure)

        self._step = torch.optim.Optimizer.profile_hook_step(torch.no_grad()(step))

    def install(self, member: torch.optim.Optimizer) -> None:
        """From now on `member.step()` is the compiled one."""
        member.step = types.MethodType(self._step, member)  # type: ignore[method-assign]

    def warm_up(self, member: torch.optim.Optimizer) -> None:
        """Compile, on copies of the member's parameters and state. Raises whatever the compiler raises."""
        scratch = scratch_copy(member)
        self._learning = True
        try:
            with torch._dynamo.config.patch(recompile_limit=_MOST_GROUPS, accumulated_recompile_limit=4096):
                for _ in range(2):  # the first step may be one that starts the state, and is never compiled
                    self._step(scratch)
        finally:
            self._learning = False

    def _update(self, *tensors: Any, **options: Any) -> None:
        """Called by torch's own `step` where it would call its function. What was not compiled at warm-up runs as torch wrote it: the
        step that starts the state, gradients that are missing, hyperparameters that change on the way."""
        given = dict(zip(self._names, tensors, strict=False))
        fixed = {key: value for key, value in options.items() if key != "lr"}
        key = (len(given["params"]), *(value for name, value in fixed.items() if name not in _OURS))
        if _starts(given) or not given["params"] or not (self._learning or key in self._known):
            self._plain(*tensors, **options)
            return
        self._known.add(key)
        device = given["params"][0].device
        if "foreach" in self._names:
            fixed["foreach"] = device.type == "cuda"  # there the compiler fuses lists, on a CPU it need not
        fixed |= {name: value for name, value in (("fused", False), ("capturable", True)) if name in fixed}
        if "lr" in options:
            fixed["lr"] = self._rate(options["lr"], device)
        counts = given.get("state_steps")
        if not counts:
            self._compiled(*tensors, **fixed)
            return
        # As numbers in double precision, which they are outside the compiler: 1 - 0.999 ** step has few digits in single.
        exact = self._counts(len(counts), device)
        torch._foreach_copy_(exact, counts)
        self._compiled(*({**given, "state_steps": exact}.values()), **fixed)
        torch._foreach_copy_(counts, exact)

    def _rate(self, rate: Any, device: torch.device) -> Tensor:
        """The learning rate as a tensor: a number would be compiled in, anew at each step of a schedule."""
        if device not in self._rates:
            self._rates[device] = torch.zeros((), dtype=torch.float64, device=device)
        return self._rates[device].fill_(rate)

    def _counts(self, number: int, device: torch.device) -> list[Tensor]:
        key = (number, device)
        if key not in self._exact:
            self._exact[key] = [torch.zeros((), dtype=torch.float64, device=device) for _ in range(number)]
        return self._exact[key]


def counts_beside_parameters(member: torch.optim.Optimizer) -> None:
    """Counts (0-d tensors of the state) on the parameters' device: torch keeps them on the host, and a step that is compiled for a GPU
    would wait for each of them. A checkpoint may bring them back to the host, so that every step looks; one look is enough."""
    first: dict[str, Any] = next((state for state in member.state.values() if state), {})
    parameter = next(iter(member.state), None)
    if parameter is None or parameter.device.type == "cpu" or not any(_is_count(v) for v in first.values()):
        return
    for held, state in member.state.items():
        for name, value in state.items():
            if _is_count(value):
                state[name] = value.to(held.device)


def _is_count(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.device.type == "cpu"


def _starts(given: dict[str, Any]) -> bool:
    """SGD makes its momentum out of the first gradients; and state that has just been made counts on the host."""
    if any(buffer is None for buffer in given.get("momentum_buffer_list", ())):
        return True
    return any(
        c.device != p.device
        for p, c in zip(given["params"][:1], given.get("state_steps", ())[:1], strict=False)
    )


def scratch_copy(member: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimizer over copies of its parameters, state included, with small gradients."""
    copies = {p: torch.nn.Parameter(p.detach().clone(), p.requires_grad) for p in _parameters(member)}
    for copied in copies.values():
        copied.grad = torch.full_like(copied, 1e-3, requires_grad=False)
    scratch = type(member).__new__(type(member))
    scratch.__setstate__({**member.__getstate__(), "state": defaultdict(dict)})
    scratch.param_groups = [
        {**group, "params": [copies[p] for p in group["params"]]} for group in member.param_groups
    ]
    for parameter, held in member.state.items():
        if parameter in copies:
            scratch.state[copies[parameter]] = {key: _clone(value) for key, value in held.items()}
    return scratch


def _clone(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _parameters(member: torch.optim.Optimizer) -> Sequence[Tensor]:
    return [p for group in member.param_groups for p in group["params"]]


def _update_of(member: torch.optim.Optimizer) -> tuple[Update, types.FunctionType, str]:
    """The function that does the arithmetic, the `step` that calls it, and its name there."""
    step = inspect.unwrap(type(member).step)
    if not isinstance(step, types.FunctionType) or not step.__module__.startswith("torch.optim."):
        raise NotCompilable("only steps of torch's own classes are compiled")
    if type(member).__name__ in _REFUSED:
        raise NotCompilable(_REFUSED[type(member).__name__])
    name = step.__module__.rpartition(".")[2].lstrip("_")
    update = step.__globals__.get(name)
    if name not in step.__code__.co_names or not callable(update):
        raise NotCompilable(f"torch's {type(member).__name__} has no function for its arithmetic alone")
    if any(group.get("differentiable") for group in member.param_groups):
        raise NotCompilable("a differentiable step is not compiled")
    if any(isinstance(group.get("lr"), Tensor) for group in member.param_groups):
        raise NotCompilable("its learning rate is a tensor already")
    return update, step, name
