"""The processes that train one trial together. Each of them, a rank, computes the gradients of its share of every batch.

Every rank runs the same training loop. Rank 0 makes the decisions that depend on time or on the user, and yields the records.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from optbench.engine.checkpoint import restore_torch_generators, torch_generators
from optbench.engine.network import Network
from optbench.engine.randomness import derive
from optbench.errors import OptbenchError, first_line

_TIMEOUT = timedelta(days=7)  # the run ends trials that make no progress
_JOIN_TIMEOUT = timedelta(minutes=5)  # for the processes on all nodes to connect
_INTERFACE = "GLOO_SOCKET_IFNAME"
_POLL_SECONDS = 0.05  # between decisions of rank 0 during training


class Ranks:
    """Rank `rank` of `size` processes, of which `per_node` run on each node.

    `threads` is the number of CPU threads of all ranks of a node together, None if not set.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        control: Any = None,
        threads: int | None = None,
        per_node: int | None = None,
    ) -> None:
        self.rank, self.size, self.threads, self._per_node = rank, size, threads, per_node or size
        self._control = control  # on the host, so that decisions do not wait for a GPU
        self._calls = self._calls_left = 1
        self._decided_at = time.monotonic()
        self._other_generators: list[Tensor] = []
        self._device = torch.device("cpu")

    @classmethod
    def join(
        cls,
        rank: int,
        size: int,
        rendezvous: Path | Network,
        device: torch.device,
        threads: int | None,
        per_node: int,
    ) -> Ranks:
        """Connect this process with the other ranks, and wait for all of them.

        `rendezvous` is a file that does not exist before, or for ranks on several nodes the network. Raises `OptbenchError` if the
        nodes cannot connect.
        """
        if isinstance(rendezvous, Path):
            store = dist.FileStore(str(rendezvous), size)  # type: ignore[attr-defined]
            control = _connect(rank, size, store, device)
        else:
            try:
                control = _connect(rank, size, _network_store(rendezvous, size), device)
            except RuntimeError as error:
                message = (
                    f"rank {rank} cannot connect to the other nodes of the trial: {first_line(error)}. The nodes must reach each "
                    f"other on all TCP ports; {_INTERFACE} and NCCL_SOCKET_IFNAME select the network interface"
                )
                raise OptbenchError(message, where="nodes") from error
        return cls(rank, size, control, threads, per_node)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which decides and yields the records."""
        return self.rank == 0

    def numbers_of_first(self, *numbers: float) -> list[float]:
        """Return the numbers of rank 0."""
        if self.size == 1:
            return list(numbers)
        shared = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(shared, 0, group=self._control)
        values: list[float] = shared.tolist()
        return values

    def decide(self, choose: Callable[[], int]) -> int:
        """Return what rank 0 chooses, called once per step. Ranks communicate only every `_POLL_SECONDS`; in between it is 0."""
        if self.size == 1:
            return choose()
        self._calls_left -= 1
        if self._calls_left > 0:
            return 0
        now = time.monotonic()
        calls = self._calls * _POLL_SECONDS / max(now - self._decided_at, 1e-6)
        self._decided_at = now
        choice, calls = self.numbers_of_first(choose(), int(min(max(calls, 1), 2 * self._calls)))
        self._calls = self._calls_left = int(calls)
        return int(choice)

    def compute_on_first(self, compute: Callable[[], Any], expected: tuple[type[Exception], ...] = ()) -> Any:
        """Return what rank 0 computes; the other ranks wait. An `expected` exception of rank 0 is raised on all ranks."""
        if self.size == 1:
            return compute()
        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer[0] = compute()
            except expected as error:
                answer[1] = error
        dist.broadcast_object_list(answer, 0, group=self._control)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def gather(self, content: Any) -> list[Any]:
        """Return the content of each rank, in their order."""
        if self.size == 1:
            return [content]
        contents: list[Any] = [None] * self.size
        dist.all_gather_object(contents, content, group=self._control)
        return contents

    def with_nodes(self, environment: dict[str, Any]) -> dict[str, Any]:
        """Return the environment of this process, with `nodes` added if there are several: the host of each, and what differs there."""
        if self._per_node == self.size:
            return environment
        nodes = self.gather(environment)[:: self._per_node]
        differences = [
            {key: value for key, value in node.items() if key in ("host", *_differing(nodes[0], node))}
            for node in nodes
        ]
        return environment | {"nodes": differences}

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks of a tensor on the device."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def rows(self, batch_size: int, micro_batches: int, device: torch.device) -> Tensor | None:
        """Return the positions in a batch that this rank computes, None for all: an equal share of each micro-batch."""
        if self.size == 1:
            return None
        parts = torch.arange(batch_size, device=device).tensor_split(micro_batches)
        return torch.cat([part.tensor_split(self.size)[self.rank] for part in parts])

    def seed_passes(self, seed: int, device: torch.device) -> None:
        """Give forward and backward passes a stream of torch's random numbers per rank, for dropout masks that differ.

        The optimizers' steps keep the current stream, which is equal on all ranks.
        """
        if self.size > 1:
            self._device, self._other_generators = device, torch_generators(device)
            torch.manual_seed(derive(seed, "training", self.rank))

    @contextmanager
    def other_generators(self) -> Iterator[None]:
        """Use the other of the two streams within the block: that of the steps, or within a step that of the passes."""
        if self.size == 1:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        current = torch_generators(self._device)
        restore_torch_generators(self._other_generators, self._device)
        self._other_generators = current

    def state(self) -> list[Tensor]:
        """Return the state of the generators that are not in use."""
        return self._other_generators

    def load_state(self, state: list[Tensor]) -> None:
        """Set what `state` returned."""
        self._other_generators = state


def is_connection_loss(error: BaseException) -> bool:
    """Return whether the connection between ranks failed, as when another node is lost."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "/gloo/transport/" in str(error)
    )


def _connect(rank: int, size: int, store: Any, device: torch.device) -> Any:
    """Create the process group. Return the group for decisions, which is on the host."""
    backend, bound_device = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT, device_id=bound_device
    )
    return dist.new_group(backend="gloo", timeout=_TIMEOUT) if backend == "nccl" else dist.group.WORLD


def _network_store(network: Network, size: int) -> Any:
    """Return torch's store for `size` ranks on several nodes. Waits until all have connected."""
    if interface := network.interface():
        # gloo would use the address of the host name, which is often that of the loopback interface
        os.environ.setdefault(_INTERFACE, interface)
    host, _, port = network.address.rpartition(":")
    listener = network.listener
    return dist.TCPStore(  # type: ignore[attr-defined]
        host,
        int(port),
        size,
        is_master=listener is not None,
        timeout=_JOIN_TIMEOUT,
        master_listen_fd=os.dup(listener.fileno()) if listener is not None else None,
    )


def _differing(first: dict[str, Any], other: dict[str, Any]) -> list[str]:
    changing = ("command", "started_at")
    return [key for key, value in other.items() if first.get(key) != value and key not in changing]


ALONE = Ranks()
