"""Trials of which no time is reported, many at once: one single-threaded process a core. Each is stored as any other trial is.

Where the plan says so, a process trains a whole stack of trials.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optbench.events import Event
from optbench.executor.chunks import chunks
from optbench.executor.local import Listener, StopRequest, Summary, run_one
from optbench.executor.stack import Stack, interrupted_stacks, run_plain_after_all, run_stack
from optbench.executor.worker import Settings
from optbench.store import SuiteFolder
from optbench.suite.types import Trial

Item = Trial | Stack


def run_together(
    trials: Sequence[Trial],
    folder: SuiteFolder,
    settings: Settings,
    listen: Listener,
    stop: StopRequest,
    at_once: int,
) -> Summary:
    """Run every trial, `at_once` processes at a time, each with one thread. Hold the folder's lock.

    Threads of this process wait for the trials' processes and store what these tell, one file a trial. `listen` is called by
    one at a time. Raises the first error of the store; what is running then ends first, and nothing more is begun.
    """
    work = _Work(folder, replace(settings, threads=1), listen, stop)
    items = _items(trials, folder, at_once)
    for item in items:
        work.waiting.put(item)
    threads = [threading.Thread(target=work.run, daemon=True) for _ in range(min(at_once, len(items)))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(
                0.2
            )  # a signal's handler runs in between; if it raises, the trials' lifelines are cut
    if work.errors:
        raise work.errors[0]
    work.summary.left = work.count_waiting()
    return work.summary


def _items(trials: Sequence[Trial], folder: SuiteFolder, at_once: int) -> list[Item]:
    """Stacks first: the plain trials, which are many and short, fill the cores at the end."""
    stackable = [trial for trial in trials if trial.engine == "stacked"]
    plain = [trial for trial in trials if trial.engine != "stacked"]
    going_on = interrupted_stacks(stackable, folder)
    known = {trial.id for stack in going_on for trial in stack.trials}
    fresh = chunks([trial for trial in stackable if trial.id not in known], at_once)
    return [*going_on, *map(Stack.of, fresh), *plain]


@dataclass
class _Work:
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
            run_plain_after_all(trial, self.folder)
        status = run_one(trial, self.folder, self.settings, self._tell, self.stop)
        with self.lock:
            self.summary.ended[status] = self.summary.ended.get(status, 0) + 1

    def _run_stack(self, stack: Stack) -> None:
        end = run_stack(stack, self.folder, self.settings, self._tell, self.stop)
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

    def _tell(self, trial: Trial, event: Event) -> None:
        with self.lock:
            self.listen(trial, event)
