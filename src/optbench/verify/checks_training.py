"""Checks of how an optimizer trains: which parameters, with whose options, and whether it goes on as it was."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from optbench.verify.bed import Fault, Note, Plugin, advance, said, same, seed_everything, weights_of


def trains(plugin: Plugin) -> str:
    """The parameters that it was given, and no copies of them; and the loss falls."""
    valley = plugin.valley()
    optimizer, before = plugin.build(valley), weights_of(valley)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held != {id(p) for p in valley.parameters()}:
        raise Fault("holds other tensors than the parameters that it was given: it would train a copy")
    with torch.no_grad():
        first = float(valley(0))
    advance(plugin, valley, optimizer, range(40))
    if any(torch.equal(a, b) for a, b in zip(before, valley.weights, strict=True)):
        raise Fault("a parameter that it was given has not moved in 40 steps: does it train a copy?")
    with torch.no_grad():
        last = float(valley(0))
    if not last < first:
        raise Fault(
            f"the loss of a quadratic went from {first:.3g} to {last:.3g} in 40 steps: wrong sign, or too high a rate?"
        )
    return f"the loss of a quadratic falls from {first:.3g} to {last:.3g} in 40 steps"


def groups(plugin: Plugin) -> str:
    """Each group's own options count for its own parameters."""
    seen = []
    for key, change in _CHANGES.items():
        options = plugin.build(plugin.valley()).param_groups[0]
        if key not in plugin.accepted or options.get(key) is None:
            continue
        other = change(options[key])
        try:
            base, everywhere = _grouped(plugin, {}, {}), _grouped(plugin, {}, {}, **{key: other})
        except ValueError as error:
            if key == "lr":
                raise Note(f"takes no parameter groups, and says so: {said(error)}") from error
            continue
        if not any(torch.equal(a, b) for a, b in zip(base, everywhere, strict=True)):
            _hold_apart(key, base, everywhere, _grouped(plugin, {}, {key: other}), changed=1)
            _hold_apart(key, base, everywhere, _grouped(plugin, {key: other}, {}), changed=0)
            seen.append(key)
    if not seen:
        raise Note("has no option that a group could have for itself (lr, weight_decay, momentum, betas)")
    return f"own {', '.join(seen)} in each group"


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
    advance(plugin, valley, optimizer, range(4))
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
    optimizer, before = plugin.build(valley, **plugin.with_decay()), weights_of(valley)[1]
    advance(plugin, valley, optimizer, range(3), without=[1])
    if not torch.equal(before, valley.weights[1]):
        raise Fault("changes a parameter that has no gradient")
    advance(plugin, valley, optimizer, range(3, 9))
    if torch.equal(before, valley.weights[1]):
        raise Fault("never moves a parameter whose gradient comes later than the others'")
    advance(plugin, valley, optimizer, range(9, 11), without=[1])
    return "a parameter without gradient stays as it is, and moves once it has one"


def state_dict(plugin: Plugin) -> str:
    """Saved, read without executing code, loaded into a new optimizer: goes on bit for bit."""
    for done in (1, 5):
        seed_everything(0)
        valley, resumed = plugin.valley(), plugin.valley()
        optimizer = plugin.build(valley)
        advance(plugin, valley, optimizer, range(done))
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        with torch.no_grad():
            for mine, saved in zip(resumed.weights, valley.weights, strict=True):
                mine.copy_(saved)
        second = plugin.build(resumed)
        second.load_state_dict(torch.load(file, weights_only=True, map_location=plugin.device))
        for number in range(done, done + 6):
            for which, held in ((valley, optimizer), (resumed, second)):
                seed_everything(number)
                advance(plugin, which, held, [number])
            if not same(weights_of(valley), weights_of(resumed)):
                raise Fault(
                    f"saved after step {done} and loaded into a new optimizer, it goes another way at step {number + 1}: "
                    "something that it remembers is not in its state_dict"
                )
    return "saved and loaded, it goes on bit for bit"


def deterministic(plugin: Plugin) -> str:
    """The same again, from the same seed."""

    def run(seed: int) -> list[Tensor]:
        seed_everything(seed)
        valley = plugin.valley()
        advance(plugin, valley, plugin.build(valley), range(6))
        return weights_of(valley)

    first = run(0)
    if not (same(first, run(0)) and same(first, run(0))):
        raise Fault("the same steps from the same seed end in other weights")
    if not same(first, run(1)):
        raise Note("draws random numbers; the same seed gives the same weights, bit for bit")
    return "the same steps give the same weights, bit for bit"


def lr_zero(plugin: Plugin) -> str:
    """A learning rate of 0 changes nothing: warmups and frozen groups rely on it."""
    if "lr" not in plugin.accepted:
        raise Note("has no lr")
    valley = plugin.valley()
    try:
        optimizer = plugin.build(valley, lr=0.0, **plugin.with_decay())
    except (ValueError, AssertionError) as error:
        raise Note(f"refuses lr 0, and says so: {said(error)}") from error
    before = weights_of(valley)
    advance(plugin, valley, optimizer, range(3))
    moved = max(float((a - b).abs().max()) for a, b in zip(before, weights_of(valley), strict=True))
    if moved:
        raise Fault(f"moves parameters by up to {moved:.1e} though lr is 0")
    return "parameters stay exactly as they are"


def schedule(plugin: Plugin) -> str:
    """A learning rate changed between steps counts from the next step on."""

    def run(factor: float) -> list[Tensor]:
        seed_everything(0)
        valley = plugin.valley()
        optimizer = plugin.build(valley)
        advance(plugin, valley, optimizer, range(3))
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        advance(plugin, valley, optimizer, range(3, 6))
        return weights_of(valley)

    if any("lr" not in group for group in plugin.build(plugin.valley()).param_groups):
        raise Note("has no lr that a schedule could change")
    if any(torch.equal(a, b) for a, b in zip(run(1.0), run(0.1), strict=True)):
        raise Fault("a learning rate changed between steps changes nothing: schedules have no effect")
    return "a learning rate changed between steps counts"
