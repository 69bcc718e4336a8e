"""CUDA graphs: what a function has the GPU do, captured once and launched as one from then on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")


class Graphs(Protocol):
    """A device that captures. Tests have one that runs on a CPU."""

    def aside(self, action: Callable[[], T]) -> T:
        """Do it on the stream that captures: what is done for the first time there can't be captured."""

    def capture(self, action: Callable[[], T]) -> Callable[[], T]:
        """`action` itself has no effect on any tensor; what is returned does its work, and gives the very tensors that it gave."""

    def leave(self) -> None:
        """Nothing will be captured: give back the memory that only the capturing stream could use again."""


class CudaGraphs:
    """All graphs of one trial share their memory: none is replayed while another is, and none reads what another left."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None
        self._failed: list[torch.cuda.CUDAGraph] = []

    def aside(self, action: Callable[[], T]) -> T:
        main = torch.cuda.current_stream(self._device)
        self._side.wait_stream(main)
        with torch.cuda.stream(self._side):
            result = action()
        main.wait_stream(self._side)
        return result

    def capture(self, action: Callable[[], T]) -> Callable[[], T]:
        """Raises what CUDA raises where something can't be captured, such as a wait for the device."""
        graph, pool = torch.cuda.CUDAGraph(), self._pool or torch.cuda.graph_pool_handle()
        main = torch.cuda.current_stream(self._device)
        try:
            # Other threads (who prepare batches, who read the driver's counters) may go on with what they do.
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, pool=pool, stream=self._side, capture_error_mode="thread_local"),
            ):
                result = action()
        except BaseException:
            torch.cuda.set_stream(main)
            self._clear_away(graph, pool)
            raise
        self._pool = pool

        def replay() -> T:
            graph.replay()
            return result

        return replay

    def _clear_away(self, graph: torch.cuda.CUDAGraph, pool: Any) -> None:
        """After a capture that failed. Where its end raises, torch leaves the memory allocator as it is within a capture: it would ask the
        graph about each allocation, so that the graph must stay, and would free nothing that it has cached.
        """
        self._failed.append(graph)
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        with contextlib.suppress(RuntimeError):  # the capture itself did end: there is nothing to undo
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
        self._side, self._pool = torch.cuda.Stream(self._device), None  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        torch.cuda.empty_cache()


def graphs_on(device: torch.device) -> Graphs | None:
    """None where there are no CUDA graphs."""
    return CudaGraphs(device) if device.type == "cuda" else None
