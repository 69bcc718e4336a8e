"""Trials of which no time is reported, many at once: one single-threaded process a core. Each is stored as any other trial is."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optbench.events import Event
from optbench.executor.local import Listener, StopRequest, Summary, run_one
from optbench.executor.worker import Settings
from optbench.store import SuiteFolder
from optbench.suite.types import Trial


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_together(
    trials: Sequence[Trial],
    folder: SuiteFolder,
    settings: Settings,
    listen: Listener,
    stop: StopRequest,
    at_once: int,
) -> Summary:
    """Run every trial, `at_once` of them at a time, each with one thread. Hold the folder's lock.

    Threads of this process wait for the trials' processes and store what these tell, one file a trial. `listen` is called by
    one at a time. Raises the first error of the store; what is running then ends first, and nothing more is begun.
    """
    work = _Work(folder, replace(settings, threads=1), listen, stop)
    for trial in trials:
        work.waiting.put(trial)
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(min(at_once, len(trials)))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(
                0.2
            )  # a signal's handler runs in between; if it raises, the trials' lifelines are cut
    if work.errors:
        raise work.errors[0]
    work.summary.left = work.waiting.qsize()
    return work.summary


@dataclass
class _Work:
    folder: SuiteFolder
    settings: Settings
    listen: Listener
    stop: StopRequest
    waiting: queue.SimpleQueue[Trial] = field(default_factory=queue.SimpleQueue)
    summary: Summary = field(default_factory=Summary)
    errors: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        while not self.stop.asked and not self.errors:
            try:
                trial = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                status = run_one(trial, self.folder, self.settings, self._tell, self.stop)
            except BaseException as error:
                self.errors.append(error)
                return
            with self.lock:
                self.summary.ended[status] = self.summary.ended.get(status, 0) + 1

    def _tell(self, trial: Trial, event: Event) -> None:
        with self.lock:
            self.listen(trial, event)
