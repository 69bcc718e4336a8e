"""Execution on the nodes of a Ray cluster: one actor per node (`node_host.py`) trains units in child processes of its node.

Each unit is a stream of messages from its node. The worker continues only after the run has stored a message and answered it. Ray retries
nothing: if a node or its actor is lost, the run starts the unit again from the last checkpoint that it received, with a new execution
number. A node that was only cut off waits for an answer that never comes, and cannot change any file of the run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem, first_line
from optbench.events import Event, Finished, Resumed, Started
from optbench.executor.api import Ended, Message, Settings, Slot, SlotLost, StopRequest, Unit
from optbench.executor.node_host import Host
from optbench.executor.suite_files import suite_files
from optbench.revision import revision
from optbench.store.files import write_whole
from optbench.suite.resources import Resources
from optbench.suite.types import Trial

_PING_SECONDS = 5.0  # between two checks of a node
_LOOK_SECONDS = 1.0  # between two looks for draining nodes
_LOST_SECONDS = 30.0  # without an answer, after which a node is considered lost; Ray may report it earlier
_FREE_SECONDS = 20.0  # to wait for nodes that are in use, such as by a run that was just killed
_END_SECONDS = 5.0  # for the actors to remove their files
_KILLED = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Node:
    """A node of the cluster that this run uses. `host` is its actor, None after it was lost.

    `is_draining`: the cluster will take it away soon, for example because its machine is preempted.
    """

    id: str
    name: str
    address: str
    cores: int
    gpus: int
    host: Any = None
    ping: Any = None
    pinged_at: float = 0.0
    is_draining: bool = False


@dataclass
class _Worker:
    """A unit that runs. `leaves` is the name of the draining node because of which it was asked to stop."""

    unit: Unit
    node: _Node
    stream: Any
    leaves: str = ""


class RayExecutor:
    """Runs units on a Ray cluster. Its slots are the GPUs of the nodes, or the nodes themselves where none has a GPU.

    `address` is that of the head node; None starts Ray on this machine. `jobs`: units that one node may run at once, if known.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        data: str | None,
        device: str = "auto",
        address: str | None = None,
        jobs: int | None = None,
    ) -> None:
        self._folder, self._settings, self._data = folder, settings, data
        self._device, self._address, self._jobs = device, address, jobs
        self._ray: Any = None
        self._nodes: list[_Node] = []
        self._workers: dict[str, _Worker] = {}
        self._files: Any = None  # of the suite, in Ray's object store
        self._revision: dict[str, Any] = {}
        self._next_look = 0.0  # for draining nodes

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        """Prepare the data once per node, and return the slots of all nodes."""
        if self._ray is None:
            self._ray = _connect(self._address)
            self._files = self._ray.put(suite_files(trials))
            self._revision = revision(trials[0].folder)
        self._add_free_nodes(report, stop)
        with_data = {(trial.workload.data.model_dump_json()): trial for trial in trials}
        sent = [trial.model_copy(update={"folder": ""}) for trial in with_data.values()]
        streams = {
            node.name: node.host.open.options(num_returns="streaming").remote(sent) for node in self._nodes
        }
        slots: dict[str, tuple[Slot, ...]] = {}
        while len(slots) < len(streams):
            if stop.is_requested:
                return ()
            pending = {name: stream for name, stream in streams.items() if name not in slots}
            for name in self._ready(pending, 0.2):
                content = self._next(name, streams[name])
                if isinstance(content, str):
                    report(content if len(streams) == 1 else f"{name}: {content}")
                elif content and isinstance(content[0], Problem):
                    raise OptbenchError(*(replace(p, message=f"node {name}: {p.message}") for p in content))
                else:
                    slots[name] = content
        return tuple(
            replace(
                slot,
                name=f"{node.name}:{slot.name}",
                host=node.name,
                address=node.address,
                environment=slot.environment | self._revision,
            )
            for node in self._nodes
            for slot in slots[node.name]
        )

    def start(self, unit: Unit, slot: Slot) -> None:
        node = next(node for node in self._nodes if node.name == slot.host)
        if node.is_draining:
            raise SlotLost(slot.host)
        if node.host is None:
            if node.id not in {one["NodeID"] for one in self._ray.nodes() if one["Alive"]}:
                raise SlotLost(slot.host)
            self._start_host(node)
        path = self._checkpoint(unit)
        checkpoint = path.read_bytes() if unit.checkpoint and path.is_file() else None
        run = node.host.run.options(num_returns="streaming")
        self._workers[unit.name] = _Worker(unit, node, run.remote(unit, slot, checkpoint))

    def receive(self, timeout_seconds: float) -> list[Message]:
        messages = self._watch_nodes()
        streams = {name: worker.stream for name, worker in self._workers.items()}
        for name in self._ready(streams, timeout_seconds):
            if (worker := self._workers.get(name)) is None:  # its node was lost meanwhile
                continue
            try:
                message, checkpoint = self._ray.get(next(worker.stream))
            except StopIteration:
                messages += self._lose(worker.node, "its stream of messages ended")
            except self._ray.exceptions.RayError as error:
                messages += self._lose(worker.node, first_line(error).rstrip("."))
            else:
                if checkpoint is not None:
                    write_whole(self._checkpoint(worker.unit), checkpoint)
                if message is not None and (own := self._own(message, worker)) is not None:
                    messages.append(own)
        return messages

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        worker = self._workers.get(message.unit)
        if worker is None:
            return
        _control(worker.node.host.answer).remote(message.execution, stop)
        if message.is_last:
            del self._workers[message.unit]

    def ask_to_stop(self, unit: Unit) -> None:
        if worker := self._workers.get(unit.name):
            _control(worker.node.host.ask_to_stop).remote(unit.execution)

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        worker = self._workers.pop(unit.name, None)
        if worker is None:
            return ""
        try:
            killed = _control(worker.node.host.kill).remote(unit.execution, show_stacks)
            return str(self._ray.get(killed, timeout=30))
        except self._ray.exceptions.RayError:  # the node does not answer: its units are lost
            return ""

    def close(self) -> None:
        if self._ray is None:
            return
        hosts = [node.host for node in self._nodes if node.host is not None]
        with contextlib.suppress(self._ray.exceptions.RayError):
            closed = [_control(host.close).remote() for host in hosts]
            if closed:
                self._ray.wait(closed, num_returns=len(closed), timeout=_END_SECONDS)
        for host in hosts:
            self._ray.kill(host)
        self._workers.clear()
        self._nodes.clear()
        with _kept_signals():
            self._ray.shutdown()
        self._ray = None

    def _checkpoint(self, unit: Unit) -> Path:
        return self._folder / "checkpoints" / unit.checkpoint

    def _ready(self, streams: dict[str, Any], timeout_seconds: float) -> list[str]:
        """Return the names of the streams that have an item."""
        if not streams:
            time.sleep(timeout_seconds)
            return []
        names = {stream: name for name, stream in streams.items()}
        ready, _ = self._ray.wait(list(names), num_returns=1, timeout=timeout_seconds, fetch_local=False)
        if ready and len(names) > 1:
            ready, _ = self._ray.wait(list(names), num_returns=len(names), timeout=0, fetch_local=False)
        return [names[stream] for stream in ready]

    def _next(self, name: str, stream: Any) -> Any:
        """Return the next item of a node that prepares data. Raises `OptbenchError` if it cannot."""
        try:
            return self._ray.get(next(stream))
        except (StopIteration, self._ray.exceptions.RayError) as error:
            reason = first_line(error).rstrip(".") or "its process ended"
            message = (
                f"node {name} cannot run trials: {reason}. Install the same version of optbench on all nodes"
            )
            raise OptbenchError(message, where="--address") from error

    def _own(self, message: Message, worker: _Worker) -> Message | None:
        """Return a message of a node as one of this run: with the revision of the suite, and a killed process as a lost one.

        A unit that was interrupted because its node is draining continues on another one: None for the event of its end.
        """
        content = message.content
        if isinstance(content, tuple):
            if worker.leaves and all(_is_interrupted(event) for _, event in content):
                _control(worker.node.host.answer).remote(message.execution, True)
                return None
            return replace(
                message, content=tuple((trial, self._with_revision(event)) for trial, event in content)
            )
        if isinstance(content, Ended) and content.cause == "finished" and worker.leaves:
            self.acknowledge(message, stop=True)
            end = Ended("host", f"the cluster takes node {worker.leaves} away")
            return replace(message, content=end)
        if isinstance(content, Ended) and content.cause != "finished":
            del self._workers[message.unit]
            if content.cause == "lost" or (content.cause == "died" and content.signal in _KILLED):
                reason = f"{content.reason} on node {worker.node.name}"
                return replace(message, content=replace(content, cause="host", reason=reason))
        return message

    def _with_revision(self, event: Event) -> Event:
        if isinstance(event, (Started, Resumed)) and self._revision:
            values = {name: getattr(event, name) for name in event.__struct_fields__}
            return type(event)(**values | {"environment": event.environment | self._revision})
        return event

    def _watch_nodes(self) -> list[Message]:
        """Return the ends of units whose node does not answer, and ask the units of draining nodes to stop."""
        messages, now = [], time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._leave_draining_nodes()
        for node in self._nodes:
            if node.host is None or now - node.pinged_at < _PING_SECONDS:
                continue
            answered, _ = self._ray.wait([node.ping], timeout=0)
            if answered:
                node.ping, node.pinged_at = _control(node.host.ping).remote(), now
            elif now - node.pinged_at > _LOST_SECONDS:
                messages += self._lose(node, f"no answer for {_LOST_SECONDS:g} s")
        return messages

    def _draining(self) -> Collection[str]:
        """Return the ids of the nodes that the cluster takes away, as after the notice of a preemption."""
        try:
            draining: Collection[str] = self._ray._private.state.state.get_draining_nodes()
        except Exception:  # the head node does not answer: what was lost is reported by the streams
            return ()
        return draining

    def _leave_draining_nodes(self) -> None:
        draining = self._draining()
        for node in self._nodes:
            node.is_draining = node.is_draining or node.id in draining
        workers = self._workers.values()
        leaving = {one.unit.execution: one.node.name for one in workers if one.node.is_draining}
        for worker in workers:  # all parts of a trial that has one on a draining node
            name = leaving.get(worker.unit.execution, "")
            if name and not worker.leaves and worker.node.host is not None:
                worker.leaves = name
                _control(worker.node.host.ask_to_stop).remote(worker.unit.execution)

    def _lose(self, node: _Node, reason: str) -> list[Message]:
        """Give up the actor of a node. Return the ends of its units."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(node.host)
        node.host = None
        lost = [worker.unit for worker in self._workers.values() if worker.node is node]
        for unit in lost:
            del self._workers[unit.name]
        end = Ended("host", f"node {node.name} was lost: {reason}")
        return [Message(unit.name, unit.execution, end) for unit in lost]

    def _start_host(self, node: _Node) -> None:
        strategies = import_module("ray.util.scheduling_strategies")
        units = max(self._jobs or 0, node.cores, node.gpus) + 1
        actor = self._ray.remote(concurrency_groups={"control": 2})(Host)
        node.host = actor.options(
            num_cpus=node.cores,
            num_gpus=node.gpus,
            max_concurrency=units,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node.id, soft=False),
        ).remote(self._files, self._settings, self._data, "cuda" if node.gpus else "cpu", node.cores)
        node.ping, node.pinged_at = _control(node.host.ping).remote(), time.monotonic()

    def _add_free_nodes(self, report: Callable[[str], None], stop: StopRequest) -> None:
        """Start an actor on each node whose resources are free. Raises `OptbenchError` if there is none.

        Nodes that another program uses are left to it: a timed trial must not share its processors.
        """
        deadline = time.monotonic() + _FREE_SECONDS
        while True:
            draining = self._draining()
            self._nodes = [node for node in self._nodes if node.host is not None and node.id not in draining]
            known = {node.id for node in self._nodes}
            suitable = suitable_nodes(self._ray, self._device, self._settings.resources)
            wanted = {one["NodeID"]: one for one in suitable if one["NodeID"] not in draining}
            available = self._ray._private.state.available_resources_per_node()
            busy = [
                one
                for key, one in wanted.items()
                if key not in known and not is_free(one, available.get(key))
            ]
            if not busy or stop.is_requested or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if len(busy) == len(wanted):
            raise OptbenchError(
                f"all {len(wanted)} suitable nodes of the cluster are in use by other work: run again when one is free",
                where="--address",
            )
        for one in busy:
            report(f"note: node {_name(one)} is in use by other work and is left out")
        names = Counter(_name(one) for one in wanted.values())
        for key, one in wanted.items():
            if key in known or one in busy:
                continue
            name = _name(one) if names[_name(one)] == 1 else f"{_name(one)}-{key[:6]}"
            resources = available[key]
            gpus = int(resources.get("GPU", 0)) if self._device != "cpu" else 0
            node = _Node(key, name, str(one["NodeManagerAddress"]), int(resources.get("CPU", 0)), gpus)
            self._start_host(node)
            self._nodes.append(node)


def _connect(address: str | None) -> Any:
    """Connect to the cluster, or start Ray on this machine. Return the module. Raises `OptbenchError` if that is not possible."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # of a Ray started here; its default, 15, slows timed trials
    os.environ.setdefault("RAY_worker_niceness", "0")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    host, _, port = address.rpartition(":")
    try:
        with _kept_signals():
            ray: Any = import_module("ray")  # not an import statement: types must check without Ray too
            driver: Any = import_module("ray._private.worker")
            driver.print_to_stdstream = _ignore  # messages of nodes do not belong into the table or display
            if host and port.isdecimal():
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(
                address=address,
                logging_level=logging.CRITICAL,
                log_to_driver=False,
                include_dashboard=False if address == "local" else None,
            )
            return ray
    except ImportError:
        message = "requires Ray, which is not installed: pip install 'optbench[ray]'"
        raise OptbenchError(message, where="--executor") from None
    except (OSError, RuntimeError, ValueError) as error:
        what = "start Ray on this machine" if address == "local" else f"connect to Ray at {address}"
        message = (
            f"cannot {what}: {getattr(error, 'strerror', None) or first_line(error)}. Expected HOST:PORT of a head node "
            "(`ray start --head`), on a machine that has joined the cluster (`ray start --address HOST:PORT --num-cpus 0` joins "
            "without offering processors)"
        )
        raise OptbenchError(message, where="--address") from error


def _ignore(*_: Any, **__: Any) -> None:
    pass


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    """Restore the handlers of signals: Ray replaces that of SIGTERM."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def suitable_nodes(ray: Any, device: str, resources: Resources) -> list[dict[str, Any]]:
    """Return the living nodes with a GPU, or those with processors where none has one. Raises `OptbenchError` if there is none.

    Nodes with another type of GPU than `resources` require are left out.
    """
    if device not in ("auto", "cpu", "cuda"):
        message = f"with --executor ray expected auto, cpu or cuda; found '{device}'"
        raise OptbenchError(message, where="--device")
    nodes = [node for node in ray.nodes() if node["Alive"]]
    with_gpu = [node for node in nodes if node["Resources"].get("GPU", 0) >= 1]
    of_type = [
        node for node in with_gpu if not (types := _gpu_types(node)) or any(map(resources.accepts, types))
    ]
    if device != "cpu" and of_type:
        return of_type
    processors = sum(int(node["Resources"].get("CPU", 0)) for node in nodes)
    size = f"{len(nodes)} node{'s' * (len(nodes) != 1)} with {processors} CPUs and no GPU"
    if resources.needs_gpu:
        found = ", ".join(sorted({name for node in with_gpu for name in _gpu_types(node)}))
        has = f"GPUs of type {found}" if found else size
        message = f"the suite requires {resources}; the cluster has {has}: add a node, or change `resources` in the suite"
        raise OptbenchError(Problem(message, where="resources"))
    if device == "cuda":
        raise OptbenchError(f"the cluster has {size}: add a node with GPUs, or use cpu", where="--device")
    suitable = [node for node in nodes if node["Resources"].get("CPU", 0) >= 1]
    if not suitable:
        raise OptbenchError(
            f"the cluster has {size}: add a node (`ray start --address HOST:PORT`)", where="--address"
        )
    return suitable


def _is_interrupted(event: Event) -> bool:
    return isinstance(event, Finished) and event.status == "interrupted"


def _gpu_types(node: dict[str, Any]) -> list[str]:
    """Return the types of the GPUs of a node, as far as Ray knows them."""
    prefix = "accelerator_type:"
    return [name.removeprefix(prefix) for name in node["Resources"] if name.startswith(prefix)]


def is_free(node: dict[str, Any], available: dict[str, float] | None) -> bool:
    """Return whether a node has a free GPU, or if it has no GPU, whether all its processors are free."""
    if available is None:
        return False
    if "GPU" in node["Resources"]:
        return available.get("GPU", 0) >= 1
    return bool(available.get("CPU", 0) >= node["Resources"]["CPU"])


def _name(node: dict[str, Any]) -> str:
    return str(node["NodeManagerHostname"])


def _control(method: Any) -> Any:
    """Return the actor's method such that calls run in a separate thread, and do not wait for units that are training."""
    return method.options(concurrency_group="control")
