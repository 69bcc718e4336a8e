"""Compile the arithmetic of torch's optimizers and leave everything else unchanged.

Each class of `torch.optim` collects its state in Python and passes it to one function (`adam`, `rmsprop`, ...) that does the
arithmetic. Only that function is compiled: state, checkpoints, groups and closures stay torch's own, so a trial can resume from a
checkpoint with or without the compiler, and code compiled for copies of the parameters is valid for the parameters.
"""

from __future__ import annotations

import inspect
import types
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from optbench.engine.protocol import parameters_of

Update = Callable[..., None]

#: classes of torch.optim that are not compiled, with the reason
_NOT_COMPILED = {
    "Adafactor": "its step reads tensor values on the host",
    "Muon": "its iterations are in bfloat16 and round differently when compiled",
}
_OVERRIDDEN = ("foreach", "fused", "capturable")  # options that are set here, whatever the optimizer has
_MAX_GROUPS = 256  # parameter groups with different shapes, each compiled separately


class NotCompilable(Exception):
    """A step is not compiled; the message is the reason, as a clause."""


class CompiledStep:
    """A compiled replacement for `member.step`, active after `install`."""

    def __init__(self, member: torch.optim.Optimizer, backend: Any = "inductor") -> None:
        """Raises `NotCompilable`."""
        self._plain, original, name = _update_of(member)
        self._compiled: Update = torch.compile(self._plain, fullgraph=True, dynamic=False, backend=backend)
        self._names = tuple(inspect.signature(self._plain).parameters)
        self._rates: dict[torch.device, Tensor] = {}
        self._exact: dict[tuple[int, torch.device], list[Tensor]] = {}
        self._compiled_keys: set[tuple[Any, ...]] = set()
        self._warming_up = False
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
        """Replace `member.step` by the compiled step."""
        member.step = types.MethodType(self._step, member)  # type: ignore[method-assign]

    def warm_up(self, member: torch.optim.Optimizer) -> None:
        """Compile, on copies of the optimizer's parameters and state. Raises whatever the compiler raises."""
        scratch = scratch_copy(member)
        self._warming_up = True
        try:
            with torch._dynamo.config.patch(recompile_limit=_MAX_GROUPS, accumulated_recompile_limit=4096):
                for _ in range(2):  # the first step may initialise the state, and is then not compiled
                    self._step(scratch)
        finally:
            self._warming_up = False

    def _update(self, *tensors: Any, **options: Any) -> None:
        """Called by torch's `step` in place of its function.

        Calls that were not compiled at warm-up run torch's own function: the step that initialises the state, missing gradients, and
        hyperparameters that change during training.
        """
        arguments = dict(zip(self._names, tensors, strict=False))
        fixed = {key: value for key, value in options.items() if key != "lr"}
        parameters = arguments["params"]
        key = (len(parameters), *(value for name, value in fixed.items() if name not in _OVERRIDDEN))
        is_compiled = self._warming_up or key in self._compiled_keys
        if _initialises_state(arguments) or not parameters or not is_compiled:
            self._plain(*tensors, **options)
            return
        self._compiled_keys.add(key)
        device = parameters[0].device
        if "foreach" in self._names:
            # the compiler fuses lists on CUDA; on a CPU that has no benefit
            fixed["foreach"] = device.type == "cuda"
        fixed |= {name: value for name, value in (("fused", False), ("capturable", True)) if name in fixed}
        if "lr" in options:
            fixed["lr"] = self._rate(options["lr"], device)
        counts = arguments.get("state_steps")
        if not counts:
            self._compiled(*tensors, **fixed)
            return
        # In double precision, as in eager mode: 1 - 0.999 ** step loses most digits in single precision.
        exact = self._counts(len(counts), device)
        torch._foreach_copy_(exact, counts)
        self._compiled(*({**arguments, "state_steps": exact}.values()), **fixed)
        torch._foreach_copy_(counts, exact)

    def _rate(self, rate: Any, device: torch.device) -> Tensor:
        """Return the learning rate as a tensor: a number would be a constant, and each step of a schedule would recompile."""
        if device not in self._rates:
            self._rates[device] = torch.zeros((), dtype=torch.float64, device=device)
        return self._rates[device].fill_(rate)

    def _counts(self, number: int, device: torch.device) -> list[Tensor]:
        key = (number, device)
        if key not in self._exact:
            self._exact[key] = [torch.zeros((), dtype=torch.float64, device=device) for _ in range(number)]
        return self._exact[key]


def counts_beside_parameters(member: torch.optim.Optimizer) -> None:
    """Move step counts (0-d tensors of the state) to the parameters' device.

    torch keeps them on the host, and a step compiled for a GPU would wait for each of them. Checked at every step, since loading a
    checkpoint may move them back; the first parameter's state stands for all.
    """
    first: dict[str, Any] = next((state for state in member.state.values() if state), {})
    parameter = next(iter(member.state), None)
    if parameter is None or parameter.device.type == "cpu" or not any(_is_count(v) for v in first.values()):
        return
    for owner, state in member.state.items():
        for name, value in state.items():
            if _is_count(value):
                state[name] = value.to(owner.device)


def _is_count(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.device.type == "cpu"


def _initialises_state(arguments: dict[str, Any]) -> bool:
    """Return whether this call initialises the state: SGD has no momentum buffer yet, or new step counts are still on the host."""
    if any(buffer is None for buffer in arguments.get("momentum_buffer_list", ())):
        return True
    return any(
        count.device != parameter.device
        for parameter, count in zip(
            arguments["params"][:1], arguments.get("state_steps", ())[:1], strict=False
        )
    )


def scratch_copy(member: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the same optimizer over copies of its parameters, with a copy of its state and small gradients."""
    copies = {p: torch.nn.Parameter(p.detach().clone(), p.requires_grad) for p in parameters_of(member)}
    for copied in copies.values():
        copied.grad = torch.full_like(copied, 1e-3, requires_grad=False)
    scratch = type(member).__new__(type(member))
    scratch.__setstate__({**member.__getstate__(), "state": defaultdict(dict)})
    scratch.param_groups = [
        {**group, "params": [copies[p] for p in group["params"]]} for group in member.param_groups
    ]
    for parameter, state in member.state.items():
        if parameter in copies:
            scratch.state[copies[parameter]] = {
                key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()
            }
    return scratch


def _update_of(member: torch.optim.Optimizer) -> tuple[Update, types.FunctionType, str]:
    """Return the function that does the arithmetic, the `step` that calls it, and the function's name in it."""
    step = inspect.unwrap(type(member).step)
    if not isinstance(step, types.FunctionType) or not step.__module__.startswith("torch.optim."):
        raise NotCompilable("only steps of torch's own classes are compiled")
    if type(member).__name__ in _NOT_COMPILED:
        raise NotCompilable(_NOT_COMPILED[type(member).__name__])
    name = step.__module__.rpartition(".")[2].lstrip("_")
    update = step.__globals__.get(name)
    if name not in step.__code__.co_names or not callable(update):
        raise NotCompilable(f"torch's {type(member).__name__} has no separate function for its arithmetic")
    if any(group.get("differentiable") for group in member.param_groups):
        raise NotCompilable("a differentiable step is not compiled")
    if any(isinstance(group.get("lr"), Tensor) for group in member.param_groups):
        raise NotCompilable("its learning rate is already a tensor")
    return update, step, name
