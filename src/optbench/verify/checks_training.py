"""Checks of training: which parameters change, by which group's options, and whether training resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from optbench.engine.protocol import clear_gradients
from optbench.engine.resumability import (
    NotResumable,
    first_difference,
    load_attributes,
    load_into,
    read_back,
    save_attributes,
    values,
)
from optbench.verify.toy_problem import (
    MATRICES,
    PATIENCE,
    READS_NO_GRADIENTS,
    CheckFailed,
    CheckNote,
    Plugin,
    ToyModel,
    advance,
    any_equal,
    bitwise_equal,
    copy_weights,
    first_line,
    raised_deliberately,
    seed_everything,
)


def trains(plugin: Plugin) -> str:
    """Check that it updates the given parameters, not copies of them, and that the loss falls."""
    model = plugin.toy_model()
    before = copy_weights(model)
    try:
        optimizer = plugin.build(model, model.parameters())
    except TypeError as error:
        raise CheckFailed(
            f"does not accept a generator such as model.parameters(): {first_line(error)}"
        ) from error
    parameter_ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if parameter_ids != {id(p) for p in model.parameters()}:
        raise CheckFailed(
            "its param_groups contain other tensors than the given parameters: it would train a copy"
        )
    first = _loss(model)
    advance(plugin, model, optimizer, range(40))
    if any_equal(before, model.weights):
        raise CheckFailed("a given parameter is unchanged after 40 steps: the optimizer may train a copy")
    last = _loss(model)
    fall = f"the loss of a quadratic falls from {first:.3g} to {last:.3g} in 40 steps"
    if not last < first:
        raise CheckFailed(
            f"the loss of a quadratic went from {first:.3g} to {last:.3g} in 40 steps: check the sign of the update and the learning rate"
        )
    if plugin.gradient_free:  # its steps are too noisy for thousands of weights
        return fall
    large = plugin.toy_model(shapes=((72, 64),))  # some optimizers use other code for more than 4,096 weights
    start = _loss(large)
    advance(plugin, large, plugin.build(large), range(40))
    if not _loss(large) < start:
        raise CheckFailed("does not lower the loss of a 72 x 64 matrix, but does for smaller ones")
    return fall


def _loss(model: ToyModel, without: Sequence[int] = ()) -> float:
    with torch.no_grad():
        return float(model(0, without))


def groups(plugin: Plugin) -> str:
    """Check that the options of each parameter group apply to its parameters only."""
    _trains_each_group(plugin)
    checked = []
    for key, change in _CHANGES.items():
        options = plugin.build(plugin.toy_model()).param_groups[0]
        if not plugin.takes(key) or options.get(key) is None:
            continue
        other = change(options[key])
        try:
            base = _train_two_groups(plugin, {}, {})
            everywhere = _train_two_groups(plugin, {}, {}, **{key: other})
            has_effect = [not torch.equal(a, b) for a, b in zip(base, everywhere, strict=True)]
            if not all(has_effect):
                if any(has_effect) or key == "lr":
                    which = "second" if has_effect[0] else "first"
                    raise CheckFailed(f"ignores the {key} of the {which} group")
                continue
            _check_group_option(key, base, everywhere, _train_two_groups(plugin, {}, {key: other}), changed=1)
            _check_group_option(key, base, everywhere, _train_two_groups(plugin, {key: other}, {}), changed=0)
            checked.append(key)
        except Exception as error:
            if not raised_deliberately(error) or isinstance(error, CheckFailed):
                raise
            if key == "lr":
                raise CheckNote(f"rejects a {key} per group: {first_line(error)}") from error
    if not checked:
        raise CheckNote("has no option that can be set per group (lr, weight_decay, momentum, betas)")
    return f"{', '.join(checked)} can be set per group"


def _trains_each_group(plugin: Plugin) -> None:
    """Check the groups given to the constructor, and a group added after the first step."""
    model = plugin.toy_model(shapes=MATRICES)
    one, other = model.parameters()
    try:
        optimizer = plugin.build(model, [{"params": [one]}, {"params": [other]}])
    except ValueError as error:
        raise CheckNote(f"rejects parameter groups: {first_line(error)}") from error
    before = [_loss(model, without=[1]), _loss(model, without=[0])]
    advance(plugin, model, optimizer, range(40))
    after = [_loss(model, without=[1]), _loss(model, without=[0])]
    for which, earlier, later in zip(("first", "second"), before, after, strict=True):
        if not later < earlier:
            raise CheckFailed(f"does not lower the loss of the parameters in the {which} group")
    model = plugin.toy_model(shapes=MATRICES)
    one, other = model.parameters()
    optimizer = plugin.build(model, [{"params": [one]}])
    if not hasattr(optimizer, "add_param_group"):
        return
    advance(plugin, model, optimizer, range(2), without=[1])
    unmoved = copy_weights(model)[1]
    added = {"params": [other]}
    optimizer.add_param_group(plugin.flagged([added])[0] if plugin.group_flag else added)
    advance(plugin, model, optimizer, range(PATIENCE))
    if torch.equal(unmoved, copy_weights(model)[1]):
        raise CheckFailed("does not update the parameters of a group added after the first step")


def _check_group_option(
    key: str, base: Sequence[Tensor], everywhere: Sequence[Tensor], result: Sequence[Tensor], changed: int
) -> None:
    """Raise `CheckFailed` unless the option changed in group `changed` alone has an effect in that group only."""
    which = ("first", "second")
    if torch.equal(result[changed], base[changed]):
        raise CheckFailed(f"ignores the {key} of the {which[changed]} group")
    if torch.equal(result[1 - changed], everywhere[1 - changed]):
        raise CheckFailed(
            f"applies the {key} of the {which[changed]} group to the {which[1 - changed]} group as well"
        )


def _train_two_groups(
    plugin: Plugin, first: dict[str, Any], second: dict[str, Any], **shared: Any
) -> list[Tensor]:
    """Return the weights of two matrices after four updates, each in its own group with these options."""
    seed_everything(0)
    model = plugin.toy_model(shapes=MATRICES)
    one, other = model.parameters()
    optimizer = plugin.build(model, [{"params": [one], **first}, {"params": [other], **second}], **shared)
    advance(plugin, model, optimizer, plugin.steps(4))
    return copy_weights(model)


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "lr": lambda lr: lr * 0.25,
    "weight_decay": lambda decay: 0.5 if decay == 0 else decay * 0.25,
    "momentum": lambda momentum: 0.5 if momentum == 0 else momentum * 0.5,
    "betas": lambda betas: tuple(0.5 * beta for beta in betas),
}


def missing_gradients(plugin: Plugin) -> str:
    """Check that a parameter without a gradient is unchanged, and is updated once it has one."""
    if plugin.gradient_free:
        raise CheckNote(READS_NO_GRADIENTS)
    model = plugin.toy_model()
    optimizer, before = plugin.build(model, **plugin.with_decay()), copy_weights(model)
    advance(plugin, model, optimizer, range(PATIENCE), without=[1])
    moved = [not torch.equal(a, b) for a, b in zip(before, model.weights, strict=True)]
    if moved[1]:
        raise CheckFailed("changes a parameter that has no gradient")
    if not all(moved[:1] + moved[2:]):
        raise CheckFailed("does not update parameters if another parameter has no gradient")
    advance(plugin, model, optimizer, range(PATIENCE))
    if torch.equal(before[1], model.weights[1]):
        raise CheckFailed("does not update a parameter whose first gradient comes later than the others'")
    before_pause = copy_weights(model)[1]
    advance(plugin, model, optimizer, range(9, 11), without=[1])
    moved_without_gradient = not torch.equal(before_pause, model.weights[1])
    if moved_without_gradient and not plugin.needs_closure:  # L-BFGS moves it from its history
        raise CheckFailed("still changes a parameter that no longer has gradients")
    _frozen_group(plugin)
    return "a parameter without a gradient is unchanged, and is updated once it has one"


def _frozen_group(plugin: Plugin) -> None:
    """Check a group with requires_grad=False, and a step in which no parameter has a gradient."""
    model = plugin.toy_model()
    *rest, frozen = model.parameters()
    frozen.requires_grad_(False)
    try:
        optimizer = plugin.build(model, [{"params": rest}, {"params": [frozen]}], **plugin.with_decay())
    except ValueError:
        optimizer = plugin.build(model, [*rest, frozen], **plugin.with_decay())
    before = copy_weights(model)
    if not plugin.needs_closure:
        clear_gradients(list(model.parameters()))
        try:
            optimizer.step()
        except Exception as error:
            if not raised_deliberately(error):
                raise
        if not bitwise_equal(before, copy_weights(model)):
            raise CheckFailed("changes parameters in a step without gradients")
    advance(plugin, model, optimizer, range(3))
    if not torch.equal(before[-1], frozen):
        raise CheckFailed("changes a parameter with requires_grad=False")


def state_dict(plugin: Plugin) -> str:
    """Check that training resumes bit for bit, at the current learning rate, from a state dict loaded into a new optimizer.

    The saved file is read without executing code.
    """
    for steps in (0, 1, 5):
        try:
            _check_resume(plugin, steps, torch.float32)
        except CheckFailed as fault:
            raise CheckFailed(f"{fault}. {_how_trials_resume(plugin)}") from fault
    return "training resumes bit for bit from the saved state"


def _how_trials_resume(plugin: Plugin) -> str:
    """Return what the engine does where state_dict() is not enough: it saves all attributes, or writes no checkpoint."""
    model, resumed = plugin.toy_model(), plugin.toy_model()
    optimizer, fresh = plugin.build(model), plugin.build(resumed)
    advance(plugin, model, optimizer, range(5))
    try:
        resumed.load_state_dict(model.state_dict())
        load_attributes(save_attributes([optimizer], model), [fresh], resumed)
        difference = first_difference(values([optimizer], model), values([fresh], resumed))
    except Exception as error:
        difference = first_line(error)
    if not difference:
        return "Trials still resume exactly: their checkpoints contain all attributes of the optimizer"
    return "Trials are not checkpointed: after an interruption they start again from step 0"


def state_dict_bf16(plugin: Plugin) -> str:
    """Check resuming with weights in bfloat16."""
    try:
        _check_resume(plugin, 5, torch.bfloat16)
    except CheckFailed as fault:
        raise CheckFailed(
            f"with weights in bfloat16, {fault}, or load_state_dict rounds it to bfloat16"
        ) from fault
    return "training with weights in bfloat16 resumes bit for bit from the saved state"


def _check_resume(plugin: Plugin, steps: int, dtype: torch.dtype) -> None:
    """Train for `steps`, save, load into a new optimizer, and compare the next steps of both."""
    seed_everything(0)
    model, resumed = plugin.toy_model(dtype), plugin.toy_model(dtype)
    optimizer = plugin.build(model)
    advance(plugin, model, optimizer, range(steps))
    for group in optimizer.param_groups:
        if isinstance(group.get("lr"), (float, Tensor)):
            group["lr"] = group["lr"] * 0.5  # as a schedule does
    with torch.no_grad():
        for weight, saved in zip(resumed.weights, model.weights, strict=True):
            weight.copy_(saved)
    second = plugin.build(resumed)
    try:
        states = read_back([optimizer])
        if dtype == torch.float32:
            load_into([second], states)
        else:
            second.load_state_dict(states[0])
    except NotResumable as reason:
        raise CheckFailed(str(reason)) from reason
    for number in range(steps, steps + 6 + plugin.idle_steps):
        for trained, its_optimizer in ((model, optimizer), (resumed, second)):
            seed_everything(number)
            advance(plugin, trained, its_optimizer, [number])
        if not bitwise_equal(copy_weights(model), copy_weights(resumed)):
            raise CheckFailed(
                f"saved after step {steps} and loaded into a new optimizer, it differs from step {number + 1} on: "
                "part of its state is not in its state_dict"
            )


def deterministic(plugin: Plugin) -> str:
    """Check that two runs from the same seed give the same weights."""

    def run(seed: int) -> list[Tensor]:
        seed_everything(seed)
        model = plugin.toy_model()
        advance(plugin, model, plugin.build(model), plugin.steps(6))
        return copy_weights(model)

    first = run(0)
    if not (bitwise_equal(first, run(0)) and bitwise_equal(first, run(0))):
        raise CheckFailed("two runs from the same seed give different weights")
    if not bitwise_equal(first, run(1)):
        raise CheckNote("draws random numbers; runs from the same seed are equal bit for bit")
    return "runs are equal bit for bit"


def lr_zero(plugin: Plugin) -> str:
    """Check that a learning rate of 0 changes nothing: warm-ups and frozen groups rely on it."""
    if not plugin.takes("lr"):
        raise CheckNote("has no lr")
    model = plugin.toy_model()
    try:
        optimizer = plugin.build(model, lr=0.0, **plugin.with_decay())
    except (ValueError, AssertionError) as error:
        raise CheckNote(f"rejects lr 0: {first_line(error)}") from error
    change = _max_change(plugin, model, optimizer, range(3))
    if not change <= _ROUNDING:
        raise CheckFailed(f"changes parameters by up to {change:.1e} with lr 0")
    later_change = _max_change_after_lr_becomes_zero(plugin)
    if not later_change <= _ROUNDING:
        raise CheckNote(
            f"parameters are unchanged with lr 0; if lr becomes 0 during training, they still change by {later_change:.1e}"
        )
    if max(change, later_change):
        raise CheckNote(f"parameters change by rounding only, {max(change, later_change):.1e}")
    return "parameters are unchanged with lr 0"


_ROUNDING = 1e-6  # two-pass methods move the weights away and back


def _max_change_after_lr_becomes_zero(plugin: Plugin) -> float:
    """Return the largest change of a weight after the rate becomes 0, as at the end of a schedule.

    Averages, and rates inside a momentum, may still change weights.
    """
    model = plugin.toy_model()
    optimizer = plugin.build(model, **plugin.with_decay())
    advance(plugin, model, optimizer, range(3))
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * 0.0
    return _max_change(plugin, model, optimizer, range(3, 6))


def _max_change(plugin: Plugin, model: ToyModel, optimizer: Any, numbers: Sequence[int]) -> float:
    """Return the largest absolute change of a weight in these steps; NaN if any is."""
    before = copy_weights(model)
    advance(plugin, model, optimizer, numbers)
    changes = [(a - b).abs().max() for a, b in zip(before, copy_weights(model), strict=True)]
    return float(torch.stack(changes).max())


def weight_decay(plugin: Plugin) -> str:
    """Check that weight decay has an effect, and does not increase weights if the gradient is 0."""
    if not plugin.takes("weight_decay"):
        raise CheckNote("has no weight_decay")
    ends = []
    for decay in (0.0, 0.5):
        seed_everything(0)
        model = plugin.toy_model(shapes=MATRICES)
        advance(plugin, model, plugin.build(model, weight_decay=decay), plugin.steps(4))
        ends.append(copy_weights(model))
    if bitwise_equal(*ends):
        raise CheckFailed("weight_decay has no effect")
    model = plugin.toy_model(shapes=MATRICES)
    optimizer, before = plugin.build(model, weight_decay=0.1), copy_weights(model)
    for number in range(3):
        advance(plugin, model, optimizer, [number], scale=0.0)
    for start, weight in zip(before, model.weights, strict=True):
        if not float(weight.detach().norm()) <= float(start.norm()) * (1 + 1e-6):
            raise CheckFailed("weight_decay increases weights: check its sign")
    return "weight_decay makes weights smaller"


def schedule(plugin: Plugin) -> str:
    """Check that a learning rate changed between steps applies from the next step on."""

    def run(factor: float) -> list[Tensor]:
        seed_everything(0)
        model = plugin.toy_model()
        optimizer = plugin.build(model)
        advance(plugin, model, optimizer, range(3))
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        advance(plugin, model, optimizer, range(3, PATIENCE))
        return copy_weights(model)

    if any("lr" not in group for group in plugin.build(plugin.toy_model()).param_groups):
        raise CheckNote("has no lr in its param_groups for a schedule to change")
    if any_equal(run(1.0), run(0.1)):
        raise CheckFailed("a learning rate changed between steps has no effect: schedules do not work")
    changed = _options_changed_by_optimizer(plugin)
    if "lr" in changed:
        raise CheckFailed("changes the lr of its groups: a schedule overwrites it at each step")
    if changed:
        raise CheckNote(
            f"applies a learning rate changed between steps; the optimizer itself changes {', '.join(sorted(changed))}"
        )
    return "applies a learning rate changed between steps"


def _options_changed_by_optimizer(plugin: Plugin) -> set[str]:
    """Return the names of options that the optimizer itself changes within three steps."""
    model = plugin.toy_model()
    optimizer = plugin.build(model, **plugin.with_decay())
    before = [_numeric_options(group, plugin) for group in optimizer.param_groups]
    advance(plugin, model, optimizer, range(3))
    after = [_numeric_options(group, plugin) for group in optimizer.param_groups]
    return {
        key for one, other in zip(before, after, strict=True) for key in other if one.get(key) != other[key]
    }


def _numeric_options(group: dict[str, Any], plugin: Plugin) -> dict[str, Any]:
    """Return the numeric options of a group that are also arguments of the constructor."""
    plain = (bool, int, float, tuple)
    return {key: v for key, v in group.items() if plugin.takes(key) and isinstance(v, plain)}
