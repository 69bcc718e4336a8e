"""Trains one trial in several processes, one per device, and passes on the events of the first one.

The process that starts them does not train, so that it notices the end of each of them, also while the others wait for it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from msgspec.structs import replace as replaced

from optbench.engine.network import Network
from optbench.errors import OptbenchError
from optbench.events import Event, Finished
from optbench.executor.api import Ended, Events, Part, Place, Rendezvous, Slot, Unit
from optbench.executor.worker import WorkerEnded, flush_and_exit, load_training, startup_errors

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 1.0  # to see whether a rank failed because another one ended, or like the others


@dataclass
class _Rank:
    number: int
    process: BaseProcess
    connection: Connection


def train_on_ranks(
    unit: Unit, slot: Slot, place: Place, should_stop: Callable[[], bool]
) -> Iterator[Events | Rendezvous]:
    """Train the unit's trial in one process per device. Each item must be stored before the next is requested.

    `slot.device` lists the devices, separated by commas; on a CPU the processes share its threads. Of a trial on several nodes, the
    part of this node is trained: the first part yields where the others join it, then the events; the others yield failures only.
    Raises `WorkerEnded` if a process ends without a result, and `OptbenchError` as the engine does.
    """
    [trial] = unit.trials
    size, part = trial.workload.devices, unit.part or Part(0)
    devices = slot.device.split(",")
    on_cpu = devices[0] == "cpu"
    devices = devices * size if on_cpu else devices
    if len(devices) != size:
        raise OptbenchError(f"expected {size} devices; found {slot.device}", where="devices")
    threads = slot.threads or unit.settings.threads or _default_threads()
    settings = replace(unit.settings, threads=max(1, threads // size))
    context: Any = multiprocessing.get_context(_start_method(on_cpu))
    multiprocessing.current_process().daemon = False  # daemonic processes may not start others
    network = None
    if trial.workload.nodes > 1:
        network = Network(part.rendezvous, slot.address)
        if part.node == 0:
            network = Network.listen(slot.address)
            yield Rendezvous(network.address)
    with tempfile.TemporaryDirectory(prefix="optbench-") as folder:
        ranks: list[_Rank] = []
        stop, stop_request = context.Pipe(duplex=False)
        try:
            for rank, device in enumerate(devices, part.node * size):
                connection, own = context.Pipe()
                arguments = (
                    rank, own, stop, replace(unit, settings=settings), replace(slot, device=device, threads=None),
                    place, network or Path(folder) / "rendezvous", threads,
                )  # fmt: skip
                process = context.Process(
                    target=_train_rank, args=arguments, name=f"rank {rank} of {trial.workload.world_size}"
                )
                process.start()
                own.close()
                ranks.append(_Rank(rank, process, connection))
            if network is not None and network.listener is not None:
                network.listener.close()  # rank 0 has it
            for event in _events(ranks, stop_request, should_stop):
                yield ((trial.id, event),)
        finally:
            for one in ranks:
                one.process.kill()
            for one in ranks:
                one.process.join(10)


def _events(
    ranks: Sequence[_Rank], stop_request: Connection, should_stop: Callable[[], bool]
) -> Iterator[Event]:
    """Yield the events of rank 0, if it is one of them, or the failure of another rank."""
    asked, failure = False, None
    deadline = float("inf")
    while True:
        if should_stop() and not asked:
            stop_request.send_bytes(b"stop")
            asked = True
        for rank, message in _messages(ranks):
            if isinstance(message, tuple):
                raise OptbenchError(*message)
            if message is None:
                return
            if isinstance(message, Finished) and message.status in ("failed", "out_of_memory"):
                if rank.number == 0:
                    _raise_if_ended(ranks[1:], _PATIENCE_SECONDS)
                elif failure is None:
                    note = f"\n(in {rank.process.name})"
                    failure = replaced(message, detail=message.detail + note)
                    deadline = time.monotonic() + _PATIENCE_SECONDS
            if rank.number == 0:
                yield message
                rank.connection.send(should_stop())
                deadline = float("inf") if isinstance(message, Finished) else deadline
        if failure is not None and time.monotonic() > deadline:
            yield failure
            return


def _messages(ranks: Sequence[_Rank]) -> list[tuple[_Rank, Any]]:
    """Return the messages that have arrived, after a short wait. Raises `WorkerEnded` if a process has ended."""
    wait([source for rank in ranks for source in (rank.connection, rank.process.sentinel)], _POLL_SECONDS)
    messages = []
    for rank in ranks:
        try:
            if rank.connection.poll():
                messages.append((rank, rank.connection.recv()))
        except (EOFError, OSError):
            pass  # it has ended
    if not messages:
        _raise_if_ended(ranks, 0)
    return messages


def _raise_if_ended(ranks: Sequence[_Rank], patience: float) -> None:
    """Raise `WorkerEnded` for the first process that has ended, or does so within `patience` seconds."""
    ended = wait([rank.process.sentinel for rank in ranks], patience)
    for rank in ranks:
        if rank.process.sentinel in ended:
            rank.process.join(10)
            code = rank.process.exitcode or 0
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            )
            reason = f"a process of the trial ({rank.process.name}) {how}"
            raise WorkerEnded(Ended("died", reason, -code if code < 0 else None))


def _train_rank(
    rank: int,
    connection: Connection,
    stop: Connection,
    unit: Unit,
    slot: Slot,
    place: Place,
    rendezvous: Path | Network,
    threads: int,
) -> None:
    """Entry point of a process. Rank 0 sends its events and waits for each answer; the others send a failure only."""
    _end_with_parent()
    [trial] = unit.trials
    trial = trial.model_copy(update={"folder": place.suite_folder})
    try:
        with startup_errors():
            training = load_training()
            device = training.set_up(unit.settings, slot, place.suite_folder)
        if isinstance(rendezvous, Network) and rank > 0 and rendezvous.listener is not None:
            rendezvous.listener.close()
            rendezvous = replace(rendezvous, listener=None)
        size, per_node = trial.workload.world_size, trial.workload.devices
        ranks = training.Ranks.join(rank, size, rendezvous, device, threads, per_node)
        is_asked = threading.Event()
        for event in training.train(
            trial,
            device,
            data_root=place.data_root,
            checkpoint=place.checkpoint,
            should_stop=lambda: is_asked.is_set() or stop.poll(),
            checkpoint_seconds=training.checkpoint_seconds(unit.settings),
            ranks=ranks,
        ):
            if rank == 0 or isinstance(event, Finished):
                connection.send(event)
                if connection.recv():
                    is_asked.set()
        connection.send(None)
    except OptbenchError as error:
        connection.send(error.problems)
    connection.poll(None)  # until this process is killed: an earlier end would disturb the other ranks
    flush_and_exit()


def _end_with_parent() -> None:
    """Kill this process when the one that started it has ended."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()


def _start_method(on_cpu: bool) -> str:
    """Return how to start processes: by a fork, which takes milliseconds, where no GPU library may be loaded."""
    return "fork" if on_cpu and "fork" in multiprocessing.get_all_start_methods() else "spawn"


def _default_threads() -> int:
    import torch

    return torch.get_num_threads()
