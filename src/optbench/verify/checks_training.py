"""Checks of how an optimizer trains: which parameters, with whose options, and whether it goes on as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from optbench.engine.resumability import (
    NotResumable,
    first_difference,
    load_into,
    load_whole,
    read_back,
    saved_whole,
    values,
)
from optbench.verify.bed import (
    MATRICES,
    PATIENCE,
    Fault,
    Note,
    Plugin,
    Valley,
    advance,
    clear_gradients,
    refuses,
    said,
    same,
    seed_everything,
    weights_of,
)


def trains(plugin: Plugin) -> str:
    """The parameters that it was given, and no copies of them; and the loss falls."""
    valley = plugin.valley()
    before = weights_of(valley)
    try:
        optimizer = plugin.build(valley, valley.parameters())
    except TypeError as error:
        raise Fault(f"takes no generator, as model.parameters() is one: {said(error)}") from error
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held != {id(p) for p in valley.parameters()}:
        raise Fault("holds other tensors than the parameters that it was given: it would train a copy")
    first = _loss(valley)
    advance(plugin, valley, optimizer, range(40))
    if any(torch.equal(a, b) for a, b in zip(before, valley.weights, strict=True)):
        raise Fault("a parameter that it was given has not moved in 40 steps: does it train a copy?")
    last = _loss(valley)
    if not last < first:
        raise Fault(
            f"the loss of a quadratic went from {first:.3g} to {last:.3g} in 40 steps: wrong sign, or too high a rate?"
        )
    large = plugin.valley(shapes=((72, 64),))  # beyond the 4,096 weights from which some go another way
    start = _loss(large)
    advance(plugin, large, plugin.build(large), range(40))
    if not _loss(large) < start:
        raise Fault("does not train a matrix of 72 x 64, though it trains small ones")
    return f"the loss of a quadratic falls from {first:.3g} to {last:.3g} in 40 steps"


def _loss(valley: Valley, without: Sequence[int] = ()) -> float:
    with torch.no_grad():
        return float(valley(0, without))


def groups(plugin: Plugin) -> str:
    """Each group's own options count for its own parameters."""
    _trains_each_group(plugin)
    seen = []
    for key, change in _CHANGES.items():
        options = plugin.build(plugin.valley()).param_groups[0]
        if not plugin.takes(key) or options.get(key) is None:
            continue
        other = change(options[key])
        try:
            base, everywhere = _grouped(plugin, {}, {}), _grouped(plugin, {}, {}, **{key: other})
            counts = [not torch.equal(a, b) for a, b in zip(base, everywhere, strict=True)]
            if not all(counts):
                if any(counts) or key == "lr":
                    raise Fault(f"ignores the {key} of its {'second' if counts[0] else 'first'} group")
                continue
            _hold_apart(key, base, everywhere, _grouped(plugin, {}, {key: other}), changed=1)
            _hold_apart(key, base, everywhere, _grouped(plugin, {key: other}, {}), changed=0)
            seen.append(key)
        except Exception as error:
            if not refuses(error) or isinstance(error, Fault):
                raise
            if key == "lr":
                raise Note(f"takes no {key} of a group's own, and says so: {said(error)}") from error
    if not seen:
        raise Note("has no option that a group could have for itself (lr, weight_decay, momentum, betas)")
    return f"own {', '.join(seen)} in each group"


def _trains_each_group(plugin: Plugin) -> None:
    """Those that it begins with, and one that is added when it has begun."""
    valley = plugin.valley(shapes=MATRICES)
    one, other = valley.parameters()
    try:
        optimizer = plugin.build(valley, [{"params": [one]}, {"params": [other]}])
    except ValueError as error:
        raise Note(f"takes no parameter groups, and says so: {said(error)}") from error
    before = [_loss(valley, without=[1]), _loss(valley, without=[0])]
    advance(plugin, valley, optimizer, range(40))
    after = [_loss(valley, without=[1]), _loss(valley, without=[0])]
    for which, earlier, later in zip(("first", "second"), before, after, strict=True):
        if not later < earlier:
            raise Fault(f"does not lower the loss of its {which} group's parameters")
    valley = plugin.valley(shapes=MATRICES)
    one, other = valley.parameters()
    optimizer = plugin.build(valley, [{"params": [one]}])
    if not hasattr(optimizer, "add_param_group"):
        return
    advance(plugin, valley, optimizer, range(2), without=[1])
    unmoved = weights_of(valley)[1]
    optimizer.add_param_group({"params": [other]})
    advance(plugin, valley, optimizer, range(PATIENCE))
    if torch.equal(unmoved, weights_of(valley)[1]):
        raise Fault("never moves the parameters of a group that was added after its first step")


def _hold_apart(
    key: str, base: Sequence[Tensor], everywhere: Sequence[Tensor], found: Sequence[Tensor], changed: int
) -> None:
    which = ("first", "second")
    if torch.equal(found[changed], base[changed]):
        raise Fault(f"ignores the {key} of its {which[changed]} group")
    if torch.equal(found[1 - changed], everywhere[1 - changed]):
        raise Fault(f"applies the {key} of its {which[changed]} group to the {which[1 - changed]} one too")


def _grouped(plugin: Plugin, first: dict[str, Any], second: dict[str, Any], **shared: Any) -> list[Tensor]:
    """Where two matrices come to, each in a group of its own with these options."""
    seed_everything(0)
    valley = plugin.valley(shapes=((8, 6), (5, 5)))
    one, other = valley.parameters()
    optimizer = plugin.build(valley, [{"params": [one], **first}, {"params": [other], **second}], **shared)
    advance(plugin, valley, optimizer, plugin.steps(4))
    return weights_of(valley)


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "lr": lambda lr: lr * 0.25,
    "weight_decay": lambda decay: 0.5 if decay == 0 else decay * 0.25,
    "momentum": lambda momentum: 0.5 if momentum == 0 else momentum * 0.5,
    "betas": lambda betas: tuple(0.5 * beta for beta in betas),
}


def missing_gradients(plugin: Plugin) -> str:
    """A parameter without a gradient stays as it is, and takes part as soon as it has one."""
    valley = plugin.valley()
    optimizer, before = plugin.build(valley, **plugin.with_decay()), weights_of(valley)
    advance(plugin, valley, optimizer, range(PATIENCE), without=[1])
    moved = [not torch.equal(a, b) for a, b in zip(before, valley.weights, strict=True)]
    if moved[1]:
        raise Fault("changes a parameter that has no gradient")
    if not all(moved[:1] + moved[2:]):
        raise Fault("leaves parameters where they are because another has no gradient")
    advance(plugin, valley, optimizer, range(PATIENCE))
    if torch.equal(before[1], valley.weights[1]):
        raise Fault("never moves a parameter whose gradient comes later than the others'")
    at = weights_of(valley)[1]
    advance(plugin, valley, optimizer, range(9, 11), without=[1])
    if not plugin.needs_closure and not torch.equal(at, valley.weights[1]):  # closures: from their history
        raise Fault("goes on moving a parameter whose gradients have ended")
    _frozen_group(plugin)
    return "a parameter without gradient stays as it is, and moves once it has one"


def _frozen_group(plugin: Plugin) -> None:
    """A group that is not trained at all, and a step in which nothing has a gradient."""
    valley = plugin.valley()
    *rest, frozen = valley.parameters()
    frozen.requires_grad_(False)
    try:
        optimizer = plugin.build(valley, [{"params": rest}, {"params": [frozen]}], **plugin.with_decay())
    except ValueError:
        optimizer = plugin.build(valley, [*rest, frozen], **plugin.with_decay())
    before = weights_of(valley)
    if not plugin.needs_closure:
        clear_gradients(valley)
        try:
            optimizer.step()
        except Exception as error:
            if not refuses(error):
                raise
        if not same(before, weights_of(valley)):
            raise Fault("changes parameters in a step without any gradient")
    advance(plugin, valley, optimizer, range(3))
    if not torch.equal(before[-1], frozen):
        raise Fault("changes a parameter that is not to be trained (requires_grad is False)")


def state_dict(plugin: Plugin) -> str:
    """Saved, read without executing code, loaded into a new optimizer: goes on bit for bit, at the rate that it had then."""
    for done in (0, 1, 5):
        try:
            _goes_on(plugin, done, torch.float32)
        except Fault as fault:
            raise Fault(f"{fault}. {_how_trials_resume(plugin)}") from fault
    return "saved and loaded, it goes on bit for bit"


def _how_trials_resume(plugin: Plugin) -> str:
    """Return what the engine does where state_dict() is not enough: it saves all attributes, or writes no checkpoint."""
    valley, resumed = plugin.valley(), plugin.valley()
    optimizer, fresh = plugin.build(valley), plugin.build(resumed)
    advance(plugin, valley, optimizer, range(5))
    try:
        resumed.load_state_dict(valley.state_dict())
        load_whole(saved_whole([optimizer], valley), [fresh], resumed)
        difference = first_difference(values([optimizer], valley), values([fresh], resumed))
    except Exception as error:
        difference = said(error)
    if not difference:
        return "Trials resume exactly all the same: their checkpoints contain all attributes of the optimizer"
    return "Trials are not checkpointed: after an interruption they start again from step 0"


def state_dict_bf16(plugin: Plugin) -> str:
    """The same with weights in bfloat16."""
    try:
        _goes_on(plugin, 5, torch.bfloat16)
    except Fault as fault:
        raise Fault(
            f"with weights in bfloat16, {fault}, or load_state_dict rounds it to the weights' type"
        ) from fault
    return "saved and loaded, it goes on bit for bit with weights in bfloat16 too"


def _goes_on(plugin: Plugin, done: int, dtype: torch.dtype) -> None:
    seed_everything(0)
    valley, resumed = plugin.valley(dtype), plugin.valley(dtype)
    optimizer = plugin.build(valley)
    advance(plugin, valley, optimizer, range(done))
    for group in optimizer.param_groups:
        if isinstance(group.get("lr"), (float, Tensor)):
            group["lr"] = group["lr"] * 0.5  # as a schedule would have it
    with torch.no_grad():
        for mine, saved in zip(resumed.weights, valley.weights, strict=True):
            mine.copy_(saved)
    second = plugin.build(resumed)
    try:
        states = read_back([optimizer])
        if dtype == torch.float32:
            load_into([second], states)
        else:
            second.load_state_dict(states[0])
    except NotResumable as reason:
        raise Fault(str(reason)) from reason
    for number in range(done, done + 6 + plugin.idle_steps):
        for which, held in ((valley, optimizer), (resumed, second)):
            seed_everything(number)
            advance(plugin, which, held, [number])
        if not same(weights_of(valley), weights_of(resumed)):
            raise Fault(
                f"saved after step {done} and loaded into a new optimizer, it goes another way at step {number + 1}: "
                "something that it remembers is not in its state_dict"
            )


def deterministic(plugin: Plugin) -> str:
    """The same again, from the same seed."""

    def run(seed: int) -> list[Tensor]:
        seed_everything(seed)
        valley = plugin.valley()
        advance(plugin, valley, plugin.build(valley), plugin.steps(6))
        return weights_of(valley)

    first = run(0)
    if not (same(first, run(0)) and same(first, run(0))):
        raise Fault("the same steps from the same seed end in other weights")
    if not same(first, run(1)):
        raise Note("draws random numbers; the same seed gives the same weights, bit for bit")
    return "the same steps give the same weights, bit for bit"


def lr_zero(plugin: Plugin) -> str:
    """A learning rate of 0 changes nothing: warmups and frozen groups rely on it."""
    if not plugin.takes("lr"):
        raise Note("has no lr")
    valley = plugin.valley()
    try:
        optimizer = plugin.build(valley, lr=0.0, **plugin.with_decay())
    except (ValueError, AssertionError) as error:
        raise Note(f"refuses lr 0, and says so: {said(error)}") from error
    moved = _moved(plugin, valley, optimizer, range(3))
    if not moved <= _ROUNDING:
        raise Fault(f"moves parameters by up to {moved:.1e} though lr is 0")
    later = _moved_by_an_ended_rate(plugin)
    if not later <= _ROUNDING:
        raise Note(
            f"parameters stay as they are; where lr becomes 0 while it trains, they still move by {later:.1e}"
        )
    if max(moved, later):
        raise Note(f"parameters move by rounding only, {max(moved, later):.1e}")
    return "parameters stay exactly as they are"


_ROUNDING = 1e-6  # what going there and back leaves, as methods of two passes do


def _moved_by_an_ended_rate(plugin: Plugin) -> float:
    """A rate that becomes 0 while it trains, as at the end of a schedule; averages and rates within a momentum may go on."""
    valley = plugin.valley()
    optimizer = plugin.build(valley, **plugin.with_decay())
    advance(plugin, valley, optimizer, range(3))
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * 0.0
    return _moved(plugin, valley, optimizer, range(3, 6))


def _moved(plugin: Plugin, valley: Valley, optimizer: Any, numbers: Sequence[int]) -> float:
    before = weights_of(valley)
    advance(plugin, valley, optimizer, numbers)
    moves = [(a - b).abs().max() for a, b in zip(before, weights_of(valley), strict=True)]
    return float(torch.stack(moves).max())  # a NaN stays one


def weight_decay(plugin: Plugin) -> str:
    """It counts, and it never makes weights greater where the gradient is 0."""
    if not plugin.takes("weight_decay"):
        raise Note("has no weight_decay")
    ends = []
    for decay in (0.0, 0.5):
        seed_everything(0)
        valley = plugin.valley(shapes=MATRICES)
        advance(plugin, valley, plugin.build(valley, weight_decay=decay), plugin.steps(4))
        ends.append(weights_of(valley))
    if same(*ends):
        raise Fault("weight_decay changes nothing")
    valley = plugin.valley(shapes=MATRICES)
    optimizer, before = plugin.build(valley, weight_decay=0.1), weights_of(valley)
    for number in range(3):
        advance(plugin, valley, optimizer, [number], scale=0.0)
    for start, weight in zip(before, valley.weights, strict=True):
        if not float(weight.detach().norm()) <= float(start.norm()) * (1 + 1e-6):
            raise Fault("weight_decay makes weights greater: wrong sign?")
    return "weight_decay makes weights smaller"


def schedule(plugin: Plugin) -> str:
    """A learning rate changed between steps counts from the next step on."""

    def run(factor: float) -> list[Tensor]:
        seed_everything(0)
        valley = plugin.valley()
        optimizer = plugin.build(valley)
        advance(plugin, valley, optimizer, range(3))
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        advance(plugin, valley, optimizer, range(3, PATIENCE))
        return weights_of(valley)

    if any("lr" not in group for group in plugin.build(plugin.valley()).param_groups):
        raise Note("has no lr that a schedule could change")
    if any(torch.equal(a, b) for a, b in zip(run(1.0), run(0.1), strict=True)):
        raise Fault("a learning rate changed between steps changes nothing: schedules have no effect")
    changed = _changed_options(plugin)
    if "lr" in changed:
        raise Fault("changes the lr of its groups itself: a schedule sets it anew at every step")
    if changed:
        raise Note(
            f"a learning rate changed between steps counts; it changes {', '.join(sorted(changed))} itself"
        )
    return "a learning rate changed between steps counts"


def _changed_options(plugin: Plugin) -> set[str]:
    """By the optimizer itself, within three steps."""
    valley = plugin.valley()
    optimizer = plugin.build(valley, **plugin.with_decay())
    given = [_options(group, plugin) for group in optimizer.param_groups]
    advance(plugin, valley, optimizer, range(3))
    after = [_options(group, plugin) for group in optimizer.param_groups]
    return {
        key for one, other in zip(given, after, strict=True) for key in other if one.get(key) != other[key]
    }


def _options(group: dict[str, Any], plugin: Plugin) -> dict[str, Any]:
    """Those that its constructor took, and that are numbers."""
    plain = (bool, int, float, tuple)
    return {key: v for key, v in group.items() if plugin.takes(key) and isinstance(v, plain)}
