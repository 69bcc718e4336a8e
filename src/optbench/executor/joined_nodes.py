"""Further nodes of a worker, such as those of one SLURM job, for trials on several nodes.

The worker listens on a port and starts this module on each other node, with the port and a key on its standard input. A node then trains
the parts of trials that the worker sends, and needs no file of the worker. It ends when the connection does.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.context import AuthenticationError
from pathlib import Path
from queue import Empty, SimpleQueue
from subprocess import Popen
from time import monotonic
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.executor.api import Ended, Message, Settings, Slot, SlotLost, StopRequest, Unit
from optbench.executor.node_host import Host
from optbench.executor.suite_files import suite_files
from optbench.executor.worker import ignore_signals
from optbench.suite.types import Trial

_JOIN_SECONDS = 120.0  # for all nodes to connect
_POLL_SECONDS = 0.2
_KILL_SECONDS = 30.0  # for a node to kill a unit and to send its output
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}


class JoinedNode:
    """The worker's side of a node that has joined: its executor. `folder` is that of the suite's results.

    `address` is the IP address of the node, `worker_address` that of the worker, each as the other one reaches it.
    """

    def __init__(self, connection: Connection) -> None:
        _detect_lost_host(connection)
        self._connection = connection
        self.worker_address = _addresses(connection)[0]
        self.name, self.address = connection.recv()
        self._units: dict[str, Unit] = {}  # that run
        self._messages: deque[Message] = deque()
        self._is_lost = False

    def configure(self, folder: Path, settings: Settings, data: str | None, device: str) -> None:
        """Set the folder of the suite's results, and what the node's executor needs. Call it once, first."""
        self._folder, self._host = folder, (settings, data, device)

    def sources(self) -> Sequence[Any]:
        return () if self._is_lost else (self._connection,)

    def open(
        self, trials: Sequence[Trial], report: Callable[[str], None], stop: StopRequest
    ) -> tuple[Slot, ...]:
        settings, data, device = self._host
        sent = tuple(trial.model_copy(update={"folder": ""}) for trial in trials)
        self._send("open", sent, suite_files(trials), settings, data, device)
        while not stop.is_requested:
            if not self._connection.poll(_POLL_SECONDS):
                continue
            try:
                _, content = self._connection.recv()
            except (EOFError, OSError):
                raise OptbenchError(f"node {self.name} was lost while it prepared the data") from None
            if isinstance(content, str):
                report(f"{self.name}: {content}")
            elif content and isinstance(content[0], Problem):
                problems = (replace(one, message=f"node {self.name}: {one.message}") for one in content)
                raise OptbenchError(*problems)
            else:
                return tuple(content)
        return ()

    def start(self, unit: Unit, slot: Slot) -> None:
        path = self._folder / "checkpoints" / unit.checkpoint
        checkpoint = path.read_bytes() if unit.checkpoint and path.is_file() else None
        if not self._is_lost:
            self._send("run", unit, slot, checkpoint)
        if self._is_lost:
            raise SlotLost(slot.host)
        self._units[unit.name] = unit

    def receive(self, timeout_seconds: float) -> list[Message]:
        with contextlib.suppress(EOFError, OSError):
            while not self._is_lost and self._connection.poll(timeout_seconds if not self._messages else 0):
                self._read()
            messages, self._messages = list(self._messages), deque()
            return messages
        return self._lose()

    def acknowledge(self, message: Message, *, stop: bool) -> None:
        if self._units.get(message.unit) is not None:
            self._send("answer", message.execution, stop)
            if message.is_last:
                del self._units[message.unit]

    def ask_to_stop(self, unit: Unit) -> None:
        if unit.name in self._units:
            self._send("ask_to_stop", unit.execution)

    def kill(self, unit: Unit, *, show_stacks: bool = False) -> str:
        if self._units.pop(unit.name, None) is None:
            return ""
        self._send("kill", unit.execution, show_stacks)
        deadline = monotonic() + _KILL_SECONDS
        with contextlib.suppress(EOFError, OSError):
            while not self._is_lost and monotonic() < deadline:
                if self._connection.poll(_POLL_SECONDS) and (output := self._read()) is not None:
                    return output
        return ""

    def close(self) -> None:
        self._connection.close()
        self._is_lost = True

    def _send(self, *request: Any) -> None:
        try:
            self._connection.send(request)
        except OSError:
            self._messages.extend(self._lose())

    def _read(self) -> str | None:
        """Read what the node has sent. Keep messages of running units; return the output of a killed one."""
        kind, content = self._connection.recv()
        if kind == "output":
            return str(content)
        if content.unit in self._units:
            self._messages.append(content)
            if isinstance(content.content, Ended) and content.content.cause != "finished":
                del self._units[content.unit]
        return None

    def _lose(self) -> list[Message]:
        """Give up the node. Return the ends of its units."""
        lost, self._units, self._is_lost = self._units, {}, True
        end = Ended("host", f"node {self.name} was lost: its connection to the worker ended")
        return [Message(unit.name, unit.execution, end) for unit in lost.values()]


@contextmanager
def joined_nodes(count: int, start: Callable[[int], Popen[bytes]]) -> Iterator[list[JoinedNode]]:
    """Yield `count` nodes. `start` starts `python -m optbench.executor.joined_nodes` on them, with a pipe as standard input.

    The process that it starts must lead a session. It is killed when the nodes have joined.
    Raises `OptbenchError` if they do not connect.
    """
    key = secrets.token_bytes(32)
    with Listener(("", 0), authkey=key) as listener:
        starter = start(count)
        try:
            line = {"host": socket.gethostname(), "port": listener.address[1], "key": key.hex()}
            if starter.stdin is not None:
                with contextlib.suppress(BrokenPipeError), starter.stdin as stdin:
                    stdin.write(json.dumps(line).encode() + b"\n")
            nodes = _accept(listener, count, starter)
        finally:
            # `srun` would end the nodes when a scheduler sends SIGTERM, before the worker has written a checkpoint
            with contextlib.suppress(ProcessLookupError):
                os.killpg(starter.pid, signal.SIGKILL)
            starter.wait()
    try:
        yield nodes
    finally:
        for node in nodes:
            node.close()


def _accept(listener: Listener, count: int, starter: Popen[bytes]) -> list[JoinedNode]:
    """Return the nodes when all have connected. Raises `OptbenchError` if they do not."""
    connections: SimpleQueue[Connection] = SimpleQueue()

    def accept() -> None:
        while True:
            with contextlib.suppress(AuthenticationError, EOFError):
                try:
                    connections.put(listener.accept())
                except OSError:  # it is closed
                    return

    threading.Thread(target=accept, daemon=True, name="nodes").start()
    nodes: list[JoinedNode] = []
    deadline = monotonic() + _JOIN_SECONDS
    while len(nodes) < count:
        with contextlib.suppress(Empty):
            nodes.append(JoinedNode(connections.get(timeout=_POLL_SECONDS)))
            continue
        code = starter.poll()
        if code is not None or monotonic() > deadline:
            how = (
                f"in {_JOIN_SECONDS:g} s"
                if code is None
                else f"and the command that starts them ended with exit code {code}"
            )
            raise OptbenchError(
                f"{len(nodes)} of {count} other nodes have joined this worker {how}", where="nodes"
            )
    return nodes


def main() -> None:
    """Join the worker that standard input states, and train what it sends until the connection ends."""
    ignore_signals()  # the worker handles those of a scheduler
    line = json.loads(sys.stdin.readline())
    hosts = [os.environ.get("SLURM_LAUNCH_NODE_IPADDR"), line["host"]]
    connection = _connect([host for host in hosts if host], line["port"], bytes.fromhex(line["key"]))
    _detect_lost_host(connection)
    name = os.environ.get("SLURMD_NODENAME") or platform.node()
    connection.send((name, _addresses(connection)[0]))
    null = os.open(os.devnull, os.O_RDWR)  # who started this process has ended
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    _serve(connection)
    os._exit(0)  # units that still run end with this process


def _connect(hosts: Sequence[str], port: int, key: bytes) -> Connection:
    """Connect to the first host that answers. Raises `OSError` of the last one if none does."""
    for host in hosts:
        try:
            return Client((host, port), authkey=key)
        except OSError as error:
            failure = error
    raise failure


def _serve(connection: Connection) -> None:
    """Handle the requests of the worker until the connection ends."""
    lock, host = threading.Lock(), None

    def send(kind: str, content: Any) -> None:
        with lock, contextlib.suppress(OSError):
            connection.send((kind, content))

    def run(host: Host, *arguments: Any) -> None:
        for message, _ in host.run(*arguments):
            if message is not None:
                send("message", message)

    def kill(host: Host, *arguments: Any) -> None:
        send("output", host.kill(*arguments))

    with contextlib.suppress(EOFError, OSError):
        while True:
            request, *arguments = connection.recv()
            if request == "open":
                trials, files, settings, data, device = arguments
                host = host or Host(files, settings, data, device, cores=0)
                for content in host.open(trials):
                    send("opened", content)
            elif host is not None and request in ("run", "kill"):
                target = run if request == "run" else kill
                threading.Thread(target=target, args=(host, *arguments), daemon=True).start()
            elif host is not None and request in ("answer", "ask_to_stop"):
                getattr(host, request)(*arguments)
    if host is not None:
        host.close()


def _addresses(connection: Connection) -> tuple[str, str]:
    """Return the IP addresses of this machine and of the other one."""
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        return copy.getsockname()[0], copy.getpeername()[0]


def _detect_lost_host(connection: Connection) -> None:
    """Make the connection end within about 20 seconds if the other machine does not answer, such as after a power cut."""
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                copy.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


if __name__ == "__main__":
    main()
