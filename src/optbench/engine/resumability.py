"""Check whether a trial can resume exactly: save the optimizer's state in memory, read it back, load it and compare the result.

State that is not in `state_dict()`, that cannot be read back, or that `load_state_dict` drops would change the records of every
trial that was interrupted. Then all attributes of the optimizer are saved instead, with references to the model. Where that is
not exact either (closures, objects that cannot be pickled), the trial is not checkpointed: it starts again from step 0.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optbench.engine import safe_pickle
from optbench.engine.checkpoint import random_state, restore_random_state
from optbench.engine.memory import is_out_of_memory
from optbench.engine.optimizers import load_states
from optbench.engine.reachable import (
    BUFFERS,
    GENERATORS,
    OF_CLASS,
    PLAIN,
    format_path,
    is_opaque,
    is_plain_sequence,
    parts_of,
    reachable,
    roots,
)
from optbench.engine.session import Session, rebuilt

#: attributes of torch's own classes that the next step computes again, or that only decide on warnings
_OF_TORCH = (
    *("._numel_cache", "._need_device_dtype_check_for_fused", "._warned_capturable_if_run_uncaptured"),
    *("._step_count", "._opt_called", "._zero_grad_profile_name"),
)
_MAX_GPUS = 64


class NotResumable(Exception):
    """A trial cannot resume exactly; the message is the reason, as a clause."""


class ResumeCheck:
    """Checks one trial. Create it before the first step; `obstacle` then checks the current state.

    After `obstacle`, `whole` is whether a checkpoint must contain all attributes of the optimizers instead of their state_dict().
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.needed = not all(
            type(member).__module__.startswith("torch.optim.") for member in session.optimizers.members
        )
        self.whole = False
        self._initial = self._initial_values() if self.needed else {}

    @property
    def packages(self) -> frozenset[str]:
        """Packages whose classes a checkpoint of this trial may contain."""
        return packages_of(self._session.optimizers.members)

    def obstacle(self) -> str:
        """Return why the trial could not resume exactly from a checkpoint taken now; empty if it could.

        Torch's own classes are not checked. The trial, generators included, is unchanged.
        """
        if not self.needed:
            return ""
        generators = random_state(self._session.device)
        try:
            self.whole = False
            if reason := self._reason():
                self.whole = True
                return reason if self._reason() else ""
        finally:
            restore_random_state(generators, self._session.device)
        return ""

    def _reason(self) -> str:
        device = self._session.device
        try:
            try:
                self._try(device)
            except Exception as error:
                if device.type == "cpu" or not is_out_of_memory(error):
                    raise
                self._try(torch.device("cpu"))
        except NotResumable as reason:
            return str(reason)
        except Exception as error:
            return f"its state cannot be restored and compared ({_described(error)})"
        return ""

    def _try(self, device: torch.device) -> None:
        session, members = self._session, self._session.optimizers.members
        states = save_attributes(members, session.model) if self.whole else read_back(members)
        model, restored = rebuilt(session, device)
        model.load_state_dict(session.model.state_dict())
        if isinstance(states, Tensor):
            load_attributes(states, restored.members, model)
        else:
            load_into(restored.members, states)
        restored.train()
        if difference := first_difference(
            values(members, session.model), values(restored.members, model), self._initial
        ):
            raise NotResumable(difference)

    def _initial_values(self) -> dict[str, Any]:
        try:
            by_path = values(self._session.optimizers.members, self._session.model)
        except Exception:  # the check itself will report what cannot be read
            return {}
        return {
            path: copy.deepcopy(value)
            for path, value in by_path.items()
            if isinstance(value, PLAIN) or OF_CLASS in path
        }


def packages_of(members: Sequence[Any]) -> frozenset[str]:
    """Return the packages of the optimizers and of the optimizers that they contain."""
    try:
        nested = [node for _, node in reachable(roots(members, ())) if hasattr(node, "param_groups")]
    except Exception:
        nested = []
    return safe_pickle.packages_of([*members, *nested])


def read_back(members: Sequence[Any]) -> list[Any]:
    """Return the optimizers' states as read back from a checkpoint, on the CPU. Raises `NotResumable`."""
    try:
        states = [member.state_dict() for member in members]
    except Exception as error:
        raise NotResumable(f"state_dict() raises {_described(error)}") from error
    file = BytesIO()
    try:
        safe_pickle.write(states, file)
    except Exception as error:
        raise NotResumable(f"its state_dict() cannot be saved ({_described(error)})") from error
    try:
        read: list[Any] = safe_pickle.read(file, packages_of(members))
    except Exception as error:
        raise NotResumable(f"its state_dict() cannot be read back ({_described(error)})") from error
    return read


def load_into(members: Sequence[Any], states: Sequence[Any]) -> None:
    """Load states as a resumed trial does. Raises `NotResumable`."""
    try:
        load_states(members, states)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise NotResumable(f"load_state_dict() raises {_described(error)}") from error


def save_attributes(members: Sequence[Any], model: nn.Module) -> Tensor:
    """Return all attributes of the optimizers as bytes, with references to the model's parameters, buffers and modules."""
    file = BytesIO()
    safe_pickle.write([vars(member) for member in members], file, _references(model))
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def load_attributes(saved: Tensor, members: Sequence[Any], model: nn.Module) -> None:
    """Set the attributes that `save_attributes` returned at new optimizers over the parameters of `model`."""
    device = str(next(model.parameters()).device)
    device_map = {f"cuda:{index}": device for index in range(_MAX_GPUS)}  # tensors on the host stay there
    file = BytesIO(saved.numpy().tobytes())
    contents = safe_pickle.read(file, packages_of(members), device_map, _references(model))
    for member, attributes in zip(members, contents, strict=True):
        vars(member).clear()
        vars(member).update(attributes)


def _references(model: nn.Module) -> dict[str, Any]:
    return {
        **{f"module {name}": module for name, module in model.named_modules()},
        **{f"parameter {name}": parameter for name, parameter in model.named_parameters()},
        **{f"buffer {name}": buffer for name, buffer in model.named_buffers()},
    }


def values(members: Sequence[Any], model: nn.Module) -> dict[str, Any]:
    """Return all numbers, texts, tensors and generators reachable from the optimizers, by path."""
    parameters = list(model.parameters())
    names = {id(p): f"parameter {index}" for index, p in enumerate(parameters)}
    owners = {_address(p): names[id(p)] for p in parameters if _address(p)}
    # the first label of each storage: tensors that share memory must share it after loading too
    storage_labels: dict[int, str] = {}
    excluded = {id(item) for item in (*parameters, *model.modules(), *model.buffers())}
    by_path: dict[str, Any] = {}
    for path, node in reachable(roots(members, parameters), excluded, names):
        # load_state_dict() adds `differentiable` to the defaults
        if path[-1] in _OF_TORCH or path[-2:] == (".defaults", "['differentiable']"):
            continue
        label = f"{path[0]}: {format_path(path)}"
        if isinstance(node, Tensor):
            if not parts_of(node):
                by_path[label] = node
                by_path[f"{label} (memory)"] = owners.get(_address(node)) or storage_labels.setdefault(
                    _storage(node), label
                )
        elif isinstance(node, (*PLAIN, *GENERATORS, *BUFFERS, np.ndarray)) or is_plain_sequence(node):
            by_path[label] = node
        elif is_opaque(node):
            by_path[label] = type(node).__qualname__
    return by_path


def first_difference(
    live: Mapping[str, Any], restored: Mapping[str, Any], initial: Mapping[str, Any] = {}
) -> str:
    """Return a description of the first value that differs between live and restored optimizers; empty if all are equal.

    Values that have not changed since the start (`initial`) are ignored: the constructor sets them.
    """
    for path in sorted({*live, *restored}):
        name = path.partition(": ")[2]
        if OF_CLASS in path:
            if path in live and not (path in initial and _is_same(live[path], initial[path])):
                return f"{name}, an attribute of the class, changes during training"
            continue
        if path not in restored:
            return f"{name} is not in its state_dict()"
        if path not in live:
            return f"{name} appears only after load_state_dict()"
        value = live[path]
        if _is_same(value, restored[path]) or (path in initial and _is_same(value, initial[path])):
            continue
        return f"{name} is not restored by load_state_dict()"
    return ""


def _is_same(one: Any, other: Any) -> bool:
    """Compare bit for bit; NaN is equal to itself."""
    if isinstance(one, Tensor):
        if not isinstance(other, Tensor) or (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        return bool(_content(one) == _content(other))
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and _content(one) == _content(other)
    if isinstance(one, GENERATORS):
        return type(one) is type(other) and _content(one) == _content(other)
    if isinstance(one, (set, frozenset, *BUFFERS)):
        return bool(one == other)
    return repr(one) == repr(other) or bool(one == other)


def _content(node: Any) -> Any:
    if isinstance(node, Tensor):
        dense = node.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return dense.view(torch.uint8).numpy().tobytes()
    if isinstance(node, np.ndarray):
        return str(node.dtype), node.shape, repr(node.tolist()) if node.dtype.hasobject else node.tobytes()
    if isinstance(node, torch.Generator):
        return _content(node.get_state())
    if isinstance(node, np.random.Generator):
        return pickle.dumps(node.bit_generator.state)
    return pickle.dumps(node.get_state() if isinstance(node, np.random.RandomState) else node.getstate())


def _address(tensor: Tensor) -> int:
    """Return the memory address of the tensor; 0 if it cannot be read."""
    try:
        return tensor.data_ptr()
    except Exception:
        return 0


def _storage(tensor: Tensor) -> int:
    """Return the address of the tensor's storage; a unique number if it cannot be read."""
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except Exception:
        return id(tensor)


def _described(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
