"""The processes that train one trial together. Each of them, a rank, computes the gradients of its share of every batch.

Every rank runs the same training loop. Rank 0 makes the decisions that depend on time or on the user, and yields the records.
"""

from __future__ import annotations

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
from optbench.engine.randomness import derive

_TIMEOUT = timedelta(days=7)  # the run ends trials that make no progress
_POLL_SECONDS = 0.05  # between decisions of rank 0 during training


class Ranks:
    """Rank `rank` of `size` processes. `threads` is the number of CPU threads of all ranks together, None if not set."""

    def __init__(self, rank: int = 0, size: int = 1, control: Any = None, threads: int | None = None) -> None:
        self.rank, self.size, self.threads = rank, size, threads
        self._control = control  # on the host, so that decisions do not wait for a GPU
        self._calls = self._calls_left = 1
        self._decided_at = time.monotonic()
        self._other_generators: list[Tensor] = []
        self._device = torch.device("cpu")

    @classmethod
    def join(cls, rank: int, size: int, rendezvous: Path, device: torch.device, threads: int | None) -> Ranks:
        """Connect this process with the other ranks, through a file that does not exist before. Waits for all of them."""
        store = dist.FileStore(str(rendezvous), size)  # type: ignore[attr-defined]
        backend, bound_device = ("nccl", device) if device.type == "cuda" else ("gloo", None)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT, device_id=bound_device
        )
        control = dist.new_group(backend="gloo", timeout=_TIMEOUT) if backend == "nccl" else dist.group.WORLD
        return cls(rank, size, control, threads)

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


ALONE = Ranks()
