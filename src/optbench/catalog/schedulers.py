"""Schedules outside of the catalog: functions of (step, steps), torch's schedulers, and functions that build these.

Both `check` and the engine build schedulers here, so that a schedule that passes the check also runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from optbench.errors import OptbenchError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Kind = Literal["multiplier", "scheduler"]

EXPECTED = "expected a function of (step, steps), a subclass of torch's LRScheduler, or a function of (optimizer, ...) that returns one"
#: arguments that are derived from the horizon unless the suite sets them, in torch and in common factories
LENGTHS = frozenset(
    {"T_max", "total_steps", "total_iters", "num_training_steps", "num_train_steps", "training_steps"}
    | {"max_steps", "max_iters", "num_steps", "total"}
)
#: the same, of schedules that are stepped once per epoch
EPOCHS = frozenset({"max_epochs", "total_epochs", "num_epochs"})
#: 0 by default: a suite's `warmup` precedes the schedule
WARMUPS = frozenset({"num_warmup_steps", "warmup_steps", "num_warmup"})
#: arguments of a scheduler or factory that a suite can omit
SUPPLIED = LENGTHS | EPOCHS | WARMUPS | {"max_lr"}
#: arguments that cannot be written in YAML, with the alternative
_UNWRITABLE = {
    "lr_lambda": "takes a function, which a suite cannot hold: expected your own function of (step, steps), as in 'my_schedule.py:decay'",
    "schedulers": "takes other schedulers, which a suite cannot hold: expected your own function of (optimizer, total_steps) that "
    "returns it, as in 'my_schedule.py:build'",
}


def kind_of(item: Any, name: str) -> Kind:
    """Return whether a loaded item multiplies the learning rate itself, or is (or returns) a torch scheduler.

    Raises `OptbenchError` for other objects, and for schedulers that a suite cannot describe.
    """
    from torch.optim.lr_scheduler import LRScheduler

    if callable(getattr(item, "multiplier", None)):
        return "multiplier"
    if inspect.isclass(item):
        if not issubclass(item, LRScheduler):
            raise OptbenchError(f"'{name}' is a class, but no subclass of torch's LRScheduler; {EXPECTED}")
        if item is LRScheduler:
            raise OptbenchError(f"'{name}' is the base class of schedulers; {EXPECTED}")
        required = _required(item)
        for parameter in _UNWRITABLE.keys() & required:
            raise OptbenchError(f"'{name}' {_UNWRITABLE[parameter]}")
        return "scheduler"
    if not callable(item):
        raise OptbenchError(f"'{name}' is of type {type(item).__name__}; {EXPECTED}")
    return "scheduler" if _optimizer_parameter(item) else "multiplier"


def names_optimizer(name: str, annotation: str) -> bool:
    """Return whether a parameter is an optimizer, by its name or annotation."""
    return name in ("optimizer", "optim", "opt") or "Optimizer" in annotation


def build(
    item: Any, name: str, arguments: Mapping[str, Any], optimizer: Optimizer, turns: int | None, per: str
) -> LRScheduler:
    """Return the scheduler of `optimizer`; `turns` is the number of its steps, None if unknown.

    Lengths are derived from `turns` unless `arguments` has them. Raises `OptbenchError` for arguments that the scheduler rejects.
    """
    from torch.optim.lr_scheduler import LRScheduler

    offered = _derived_arguments(item, arguments, optimizer, turns, per)
    try:
        made = item(**{_optimizer_parameter(item): optimizer, **offered, **arguments})
    except Exception as error:  # user code of a scheduler may raise any exception
        raise OptbenchError(f"schedule {name}: {error or type(error).__name__}") from error
    if not isinstance(made, LRScheduler):
        raise OptbenchError(f"schedule {name}: returned {type(made).__name__}; {EXPECTED}")
    return made


def _derived_arguments(
    item: Any, arguments: Mapping[str, Any], optimizer: Optimizer, turns: int | None, per: str
) -> dict[str, Any]:
    names, required = parameters(item), _required(item)
    lengths = LENGTHS | (EPOCHS if per == "epoch" else set())
    if "epochs" in arguments or "steps_per_epoch" in arguments:  # of OneCycleLR, in place of total_steps
        lengths -= {"total_steps"}
    offered: dict[str, Any] = dict.fromkeys(lengths & names.keys(), turns) if turns else {}
    offered |= dict.fromkeys(WARMUPS & required, 0)
    if "max_lr" in names and inspect.isclass(item):  # one rate for all groups would overwrite their own
        offered["max_lr"] = [group["lr"] for group in optimizer.param_groups]
    return offered


def _optimizer_parameter(item: Any) -> str:
    """Return the name of the parameter for the optimizer: of a class its first one if none has such a name, otherwise ""."""
    named = parameters(item)
    found = (name for name, each in named.items() if names_optimizer(name, str(each.annotation)))
    return next(found, next(iter(named), "") if inspect.isclass(item) else "")


def watches_loss(scheduler: Any) -> bool:
    """Return whether a scheduler's `step` takes the validation loss."""
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    return isinstance(scheduler, ReduceLROnPlateau)


def parameters(item: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a callable; empty if unknown."""
    try:
        return inspect.signature(item).parameters
    except (TypeError, ValueError):
        return {}


def _required(item: Any) -> set[str]:
    return {name for name, parameter in parameters(item).items() if parameter.default is parameter.empty}
