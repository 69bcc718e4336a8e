"""Optimizer state, or all of a model, divided among the ranks of a trial.

`zero1`: each rank updates some parameters and has their state only, then sends them to the others (ZeRO stage 1, Rajbhandari et al. 2020,
https://arxiv.org/abs/1910.02054). `full`: parameters, gradients and state are split along the first axis, by torch's `fully_shard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from optbench.engine.optimizers import Optimizers
from optbench.engine.ranks import Ranks


def owners(groups: Iterable[Sequence[Tensor]], ranks: int) -> dict[Tensor, int]:
    """Return the rank that updates each parameter: in each group the largest first, to the rank with the fewest elements.

    This is the rule of torch's `ZeroRedundancyOptimizer`.
    """
    sizes = [0] * ranks
    owner = {}
    for group in groups:
        for parameter in sorted(group, key=torch.Tensor.numel, reverse=True):
            owner[parameter] = sizes.index(min(sizes))
            sizes[owner[parameter]] += parameter.numel()
    return owner


def divide_parameters(optimizers: Optimizers, ranks: Ranks) -> dict[Tensor, int]:
    """Leave the optimizers the parameters that this rank updates, before the first step. Return the rank of each parameter."""
    groups = [group["params"] for member in optimizers.members for group in member.param_groups]
    owner = owners(groups, ranks.size)
    optimizers.keep([parameter for parameter, rank in owner.items() if rank == ranks.rank])
    return owner


@torch.no_grad()
def send_parameters(owner: dict[Tensor, int]) -> None:
    """Send each parameter from the rank that updated it to all others."""
    sent = [dist.broadcast(p.detach(), rank, async_op=True) for p, rank in owner.items()]
    for one in sent:
        if one is not None:
            one.wait()


def shard_model(model: nn.Module, device: torch.device, ranks: Ranks) -> None:
    """Split the parameters of the model in place. Blocks of a sequence or list are gathered one at a time."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (ranks.size,))
    for block in (*blocks(model), model):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)  # an evaluation may change the weights


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the composite modules in sequences and lists, outermost first, without those that share parameters with other parts."""
    separate_blocks: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        for child in module.children():
            is_item = isinstance(module, (nn.Sequential, nn.ModuleList))
            is_container = isinstance(child, (nn.Sequential, nn.ModuleList))
            if is_item and not is_container and any(child.children()) and _is_separate(child, model):
                separate_blocks.append(child)
            else:
                visit(child)

    visit(model)
    return separate_blocks


def _is_separate(part: nn.Module, model: nn.Module) -> bool:
    inside = {id(module) for module in part.modules()}
    part_parameters = {id(p) for p in part.parameters()}
    other_parameters = {
        id(p)
        for module in model.modules()
        if id(module) not in inside
        for p in module.parameters(recurse=False)
    }
    return bool(part_parameters) and not part_parameters & other_parameters


def local_part(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this rank has, in the same memory; the tensor itself if it is not split."""
    part: Tensor = tensor.to_local() if _is_split(tensor) else tensor  # type: ignore[attr-defined]
    return part


def full_value(tensor: Tensor) -> Tensor:
    """Return the value of a tensor that is split or a partial result per rank. Call it on all ranks."""
    value: Tensor = tensor.full_tensor() if _is_split(tensor) else tensor  # type: ignore[attr-defined]
    return value


def _is_split(tensor: Tensor) -> bool:
    """Return whether the tensor is a `DTensor`, without importing its package, which takes a second."""
    return type(tensor) not in (Tensor, nn.Parameter) and hasattr(tensor, "full_tensor")


def local_parts(content: Any) -> Any:
    """Return nested lists and dictionaries with the local part of each tensor."""
    if isinstance(content, dict):
        return {key: local_parts(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [local_parts(value) for value in content]
    return local_part(content).detach() if isinstance(content, Tensor) else content


def rejoin_state(members: Sequence[Any]) -> None:
    """Make state that was loaded from `local_parts` part of split tensors again, like its parameter."""
    from torch.distributed.tensor import DTensor

    for member in members:
        for parameter, values in member.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.dim() > 0:
                    values[name] = DTensor.from_local(
                        value,
                        parameter.device_mesh,
                        parameter.placements,
                        run_check=False,
                        shape=parameter.shape,
                        stride=parameter.stride(),
                    )


def largest_share(parameters: Sequence[Tensor], ranks: int, sharding: str) -> int:
    """Return the number of elements of the parameters whose state the rank with most of them has."""
    if sharding == "full":
        return sum(-(-len(p) // ranks) * (p.numel() // max(1, len(p))) if p.dim() else 1 for p in parameters)
    if sharding == "zero1":
        sizes = [0] * ranks
        for parameter, rank in owners([parameters], ranks).items():
            sizes[rank] += parameter.numel()
        return max(sizes)
    return sum(p.numel() for p in parameters)
