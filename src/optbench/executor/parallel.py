"""Untimed trials run in parallel: one single-threaded process per core. Trials are stored as in a sequential run.

Trials that the plan marks as stacked are trained in stacks, one process per stack.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optbench.events import Event
from optbench.executor.local import Listener, StopRequest, Summary, run_one
from optbench.executor.stack_partition import split_into_stacks
from optbench.executor.stacked import Stack, interrupted_stacks, prepare_plain_run, run_stack
from optbench.executor.worker import Settings
from optbench.store import SuiteFolder
from optbench.suite.types import Trial

Item = Trial | Stack


def run_parallel(
    trials: Sequence[Trial],
    folder: SuiteFolder,
    settings: Settings,
    listen: Listener,
    stop: StopRequest,
    at_once: int,
) -> Summary:
    """Run the trials in up to `at_once` processes with one thread each. The caller must hold the folder's lock.

    Threads of this process wait for the trials' processes and store their events, one file per trial. `listen` is called by one thread
    at a time. Raises the first error of the store after the running trials have ended; no others are started.
    """
    work = _Queue(folder, replace(settings, threads=1), listen, stop)
    items = _items(trials, folder, at_once)
    for item in items:
        work.waiting.put(item)
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(min(at_once, len(items)))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(0.2)  # lets signal handlers run; if one raises, the trials' lifelines close
    if work.errors:
        raise work.errors[0]
    work.summary.left = work.count_waiting()
    return work.summary


def _items(trials: Sequence[Trial], folder: SuiteFolder, at_once: int) -> list[Item]:
    """Return stacks and plain trials to run. Stacks come first: plain trials are short and fill the cores at the end."""
    stackable = [trial for trial in trials if trial.engine == "stacked"]
    plain = [trial for trial in trials if trial.engine != "stacked"]
    resuming = interrupted_stacks(stackable, folder)
    resuming_ids = {trial.id for stack in resuming for trial in stack.trials}
    new = split_into_stacks([trial for trial in stackable if trial.id not in resuming_ids], at_once)
    return [*resuming, *map(Stack.of, new), *plain]


@dataclass
class _Queue:
    folder: SuiteFolder
    settings: Settings
    listen: Listener
    stop: StopRequest
    waiting: queue.SimpleQueue[Item] = field(default_factory=queue.SimpleQueue)
    summary: Summary = field(default_factory=Summary)
    errors: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        while not self.stop.asked and not self.errors:
            try:
                item = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                if isinstance(item, Stack):
                    self._run_stack(item)
                else:
                    self._run_trial(item)
            except BaseException as error:
                self.errors.append(error)
                return

    def count_waiting(self) -> int:
        left = 0
        while not self.waiting.empty():
            item = self.waiting.get_nowait()
            left += len(item.trials) if isinstance(item, Stack) else 1
        return left

    def _run_trial(self, trial: Trial) -> None:
        if trial.engine == "stacked":
            prepare_plain_run(trial, self.folder)
        status = run_one(trial, self.folder, self.settings, self._notify, self.stop)
        with self.lock:
            self.summary.ended[status] = self.summary.ended.get(status, 0) + 1

    def _run_stack(self, stack: Stack) -> None:
        end = run_stack(stack, self.folder, self.settings, self._notify, self.stop)
        with self.lock:
            for status in end.statuses:
                self.summary.ended[status] = self.summary.ended.get(status, 0) + 1
        if end.then == "smaller" and len(end.left) > 1:
            half = (len(end.left) + 1) // 2
            for part in (end.left[:half], end.left[half:]):
                self.waiting.put(Stack.of(part))
        else:
            for trial in end.left:
                self.waiting.put(trial)

    def _notify(self, trial: Trial, event: Event) -> None:
        with self.lock:
            self.listen(trial, event)
