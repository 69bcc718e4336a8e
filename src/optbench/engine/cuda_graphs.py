"""CUDA graphs: the GPU work of a function, captured once and then launched as one unit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")


class Graphs(Protocol):
    """Interface of a device that can capture graphs. Tests implement it on a CPU."""

    def run_on_capture_stream(self, action: Callable[[], T]) -> T:
        """Run `action` on the capture stream: work done for the first time on that stream can't be captured."""

    def capture(self, action: Callable[[], T]) -> Callable[[], T]:
        """Return a function that replays `action` and returns the same tensor objects. The capture itself changes no tensor."""

    def release(self) -> None:
        """Free the memory that only the capture stream could reuse. Call it if nothing will be captured."""


class CudaGraphs:
    """Graphs of one trial, which share their memory: they are never replayed concurrently, and none reads another's results."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None
        self._failed: list[torch.cuda.CUDAGraph] = []

    def run_on_capture_stream(self, action: Callable[[], T]) -> T:
        main = torch.cuda.current_stream(self._device)
        self._side.wait_stream(main)
        with torch.cuda.stream(self._side):
            result = action()
        main.wait_stream(self._side)
        return result

    def capture(self, action: Callable[[], T]) -> Callable[[], T]:
        """Capture `action` as a CUDA graph. Raises CUDA's exceptions for operations that cannot be captured, such as a synchronisation."""
        graph, pool = torch.cuda.CUDAGraph(), self._pool or torch.cuda.graph_pool_handle()
        main = torch.cuda.current_stream(self._device)
        try:
            # thread_local: other threads (prefetching batches, reading the driver's counters) continue during the capture
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, pool=pool, stream=self._side, capture_error_mode="thread_local"),
            ):
                result = action()
        except BaseException:
            torch.cuda.set_stream(main)
            self._clean_up(graph, pool)
            raise
        self._pool = pool

        def replay() -> T:
            graph.replay()
            return result

        return replay

    def _clean_up(self, graph: torch.cuda.CUDAGraph, pool: Any) -> None:
        """Restore the allocator after a failed capture.

        If ending the capture raises, torch leaves its allocator in capture mode: it would query the graph at each allocation (so the
        graph is kept alive) and free no cached memory.
        """
        self._failed.append(graph)
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        with contextlib.suppress(RuntimeError):  # the capture did end: nothing to undo
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
        self._side, self._pool = torch.cuda.Stream(self._device), None  # type: ignore[no-untyped-call]

    def release(self) -> None:
        torch.cuda.empty_cache()


def graphs_on(device: torch.device) -> Graphs | None:
    """Return the graphs of the device; None if it has no CUDA graphs."""
    return CudaGraphs(device) if device.type == "cuda" else None
