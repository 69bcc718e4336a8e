"""Conformance checks of all optimizer classes of the installed packages, each class in its own process."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from optbench.catalog.optimizer_packages import Offered
from optbench.catalog.required_settings import required_settings
from optbench.errors import OptbenchError
from optbench.verify.conformance import Verdict, bytes_per_parameter, conformance
from optbench.verify.plugin import load_plugin
from optbench.verify.toy_problem import Stopwatch, format_error

SECONDS = 600  # time limit of all checks of one class


@dataclass(frozen=True)
class Checked:
    """The verdicts on one class, or the reason why it could not be checked."""

    offered: Offered
    settings: str = ""
    """How it is called, in the words of an entry; empty for a plain `step()`."""
    state: float | None = None
    """Bytes of state per fp32 parameter; None if unknown."""
    verdicts: tuple[Verdict, ...] = ()
    problem: str = ""

    @property
    def failed(self) -> list[str]:
        return [verdict.check for verdict in self.verdicts if verdict.outcome == "fail"]


def check_all(
    classes: Sequence[Offered], device: torch.device, jobs: int, note: Callable[[Checked], None]
) -> list[Checked]:
    """Check every class, `jobs` at a time. `note` is called after each, in the order of `classes`."""
    with ThreadPoolExecutor(jobs) as pool:
        results = []
        for checked in pool.map(lambda one: _in_process(one, device), classes):
            note(checked)
            results.append(checked)
    return results


_starting = threading.Lock()  # a start polls all processes, also those that another thread joins


def _in_process(one: Offered, device: torch.device) -> Checked:
    context = _context(device)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sending, one, device), daemon=True)
    with _starting:
        process.start()
    sending.close()
    try:
        if not _has_result(receiving, process.pid):
            return Checked(one, problem=f"no result in {SECONDS} seconds")
        settings, state, verdicts, problem = receiving.recv()
        return Checked(one, settings, state, verdicts, problem)
    except EOFError:
        with _starting:
            process.join()
        return Checked(one, problem=f"the process ended with exit code {process.exitcode}")
    finally:
        process.kill()
        with _starting:
            process.join()


def _has_result(receiving: Connection, process: int) -> bool:
    """Wait for a result, for at most `SECONDS` in which the process does not wait for a processor."""
    watch = Stopwatch(process)
    while (left := SECONDS - watch.seconds()) > 0:
        if receiving.poll(left):
            return True
    return False


def _context(device: torch.device) -> Any:
    """Return the context of a server that has loaded torch and trained nothing.

    In a fork of this process, autograd would refuse to run if it has started threads here, as for a memory estimate.
    """
    is_forked = device.type == "cpu" and "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if is_forked else "spawn")
    context.set_forkserver_preload([__name__])
    return context


def _send(connection: Connection, one: Offered, device: torch.device) -> None:
    """Check a class and send the result. What the class prints is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    torch.set_num_threads(1)
    try:
        connection.send((*_check(one, device), ""))
    except OptbenchError as error:
        connection.send(("", None, (), error.problems[0].message))
    except BaseException as error:
        connection.send(("", None, (), format_error(error)))


def _check(one: Offered, device: torch.device) -> tuple[str, float | None, tuple[Verdict, ...]]:
    plugin = load_plugin(one.use, required_settings(one.use), device, Path())
    verdicts = tuple(conformance(plugin))
    try:
        state = bytes_per_parameter(plugin)
    except Exception:  # a failure that the checks have reported
        state = None
    return plugin.settings, state, verdicts


def columns(results: Sequence[Checked]) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns of the matrix: class, package, version, settings, state, and one per check with its outcomes."""
    checks = list(dict.fromkeys(verdict.check for one in results for verdict in one.verdicts))
    outcomes = [{v.check: v.outcome for v in one.verdicts} for one in results]
    yield "class", [one.offered.use for one in results]
    yield "package", [one.offered.package for one in results]
    yield "version", [one.offered.version for one in results]
    yield "call", [one.settings.replace("`", "") for one in results]
    yield "state", ["" if one.state is None else f"{one.state / 4:.3g}" for one in results]
    for check in checks:
        yield check, [of_one.get(check, "") for of_one in outcomes]
    yield "details", [_details(one) for one in results]


def _details(one: Checked) -> str:
    failures = [f"{v.check}: {v.detail}" for v in one.verdicts if v.outcome == "fail"]
    return "; ".join([one.problem] if one.problem else failures)
