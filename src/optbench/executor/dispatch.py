"""Runs trials on the slots of an executor, and stores their events. It does not depend on the engine of execution."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from time import monotonic, time_ns
from types import MappingProxyType

from optbench.errors import OptbenchError
from optbench.events import Fault, Finished, Resumed, Started, Status
from optbench.executor.api import (
    CannotStack,
    Ended,
    Events,
    Executor,
    Listener,
    Message,
    Refused,
    Rendezvous,
    Settings,
    Slot,
    SlotLost,
    StopRequest,
    Unit,
    join_slots,
    take_slots,
)
from optbench.executor.limits import allow_open_files
from optbench.executor.process import POLL_SECONDS, STOP_SECONDS, did_not_stop, was_silent
from optbench.executor.units import Single, Stack, Work, archive_records, divide, remove_checkpoint
from optbench.store import SuiteFolder
from optbench.suite.types import Trial

_SETUP_SECONDS = 2.0  # time limit to stop before the first step: there is nothing to save
_MAX_LOSSES = 5  # of a unit with its host in one run, after which it is left to the next run


@dataclass
class Summary:
    """Counts of trials by final status. `left`: trials not started because the run was stopped."""

    ended: dict[Status, int] = field(default_factory=dict)
    left: int = 0

    def add(self, other: Summary) -> None:
        for status, n in other.ended.items():
            self.ended[status] = self.ended.get(status, 0) + n
        self.left += other.left

    @property
    def trouble(self) -> bool:
        """Whether a trial failed or ran out of memory (exit code 1). A diverged trial is an outcome, not a failure."""
        return bool(self.ended.get("failed") or self.ended.get("out_of_memory"))


@dataclass(frozen=True)
class Dispatcher:
    """Runs trials on the slots of an executor. The caller holds the lock of `folder`.

    `stall_seconds`: a unit that sends nothing for this long is considered hung. Each event is stored before its unit continues, then
    passed to the listener.
    """

    executor: Executor
    folder: SuiteFolder
    settings: Settings
    stop: StopRequest
    stall_seconds: float = 1800.0

    def run_timed(
        self,
        trials: Sequence[Trial],
        slots: Sequence[Slot],
        listen: Listener,
        attempts: Mapping[str, int] = MappingProxyType({}),
    ) -> Summary:
        """Run the trials in order, one per slot at a time.

        `attempts`: number of the measurement by trial id, by default 1. Raises `OptbenchError` if the store cannot be written, or for
        a problem that affects all trials; records stored before are intact.
        """
        return self._run([Single(trial, attempts.get(trial.id, 1)) for trial in trials], slots, listen)

    def run_sweep(
        self,
        trials: Sequence[Trial],
        slots: Sequence[Slot],
        listen: Listener,
        left_out: Collection[str] = (),
    ) -> Summary:
        """Run the trials of sweeps on all slots; those that the plan marks as stacked are trained in stacks. Raises as `run_timed`.

        `left_out`: ids of planned trials that this run does not train.
        """
        return self._run(divide(trials, self.folder, len(slots), left_out), slots, listen)

    def _run(self, work: Sequence[Work], slots: Sequence[Slot], listen: Listener) -> Summary:
        """Run the work. After an error no other unit is started, and the first error is raised when the running units have ended."""
        at_once = max((len(item.trials) for item in work), default=0)
        allow_open_files(len(slots) * at_once)  # the records of each running trial
        summary, waiting, free = Summary(), deque(work), deque(slots)
        running: dict[str, _Running] = {}
        lost: list[str] = []
        next_check = 0.0
        error: OptbenchError | None = None
        try:
            while True:
                while waiting and free and not self.stop.is_requested and error is None:
                    try:
                        alive = [slot for slot in slots if slot.name not in lost] if lost else slots
                        workload = waiting[0].trials[0].workload
                        taken = take_slots(free, alive, workload.devices, workload.nodes)
                        if taken is None:
                            break
                        for slot in taken:
                            free.remove(slot)
                        one = _Running(self, waiting[0], taken, listen)
                        with one.closing_on_error():
                            self.executor.start(one.unit, one.slot)
                        running[one.unit.name] = one
                        waiting.popleft()
                    except SlotLost as error_of_slot:
                        lost += [slot.name for slot in slots if slot.host == error_of_slot.host]
                        free.extend(one.slots)
                        free = deque(slot for slot in free if slot.name not in lost)
                    except OptbenchError as problem:
                        error = problem
                if not running:
                    if waiting and lost and not self.stop.is_requested and error is None:
                        error = _all_lost(lost)
                    break
                ended = self._progress(running)
                if monotonic() >= next_check:
                    next_check = monotonic() + POLL_SECONDS
                    ended = chain(ended, self._overdue(running))
                for one, end in ended:
                    running.pop(one.unit.name).close()
                    free.extend(one.slots)
                    if isinstance(end, OptbenchError):
                        error = error or end
                        continue
                    again = {trial.id for work in end for trial in work.trials}
                    for trial, status in one.finished.items():
                        if trial not in again:
                            summary.ended[status] = summary.ended.get(status, 0) + 1
                    waiting.extend(end)
        finally:
            for one in running.values():
                one.close()
        if error is not None:
            raise error
        summary.left = sum(len(item.trials) for item in waiting)
        return summary

    def _progress(
        self, running: Mapping[str, _Running]
    ) -> Iterator[tuple[_Running, Sequence[Work] | OptbenchError]]:
        """Wait for messages and handle them. Yield the units that ended, with the work that they leave or the error that ended them."""
        for message in self.executor.receive(POLL_SECONDS):
            one = running.get(message.unit)
            if one is None or message.execution != one.unit.execution:  # of a worker that was given up
                self.executor.acknowledge(message, stop=True)
                continue
            try:
                end = one.handle(message)
            except OptbenchError as error:
                self.executor.kill(one.unit)
                yield one, error
                continue
            if end is not None:
                yield one, end

    def _overdue(
        self, running: Mapping[str, _Running]
    ) -> Iterator[tuple[_Running, Sequence[Work] | OptbenchError]]:
        """Ask units to stop, and kill those that do not or that are silent for too long. Yield what was killed, as `_progress`."""
        for one in list(running.values()):
            if (reason := one.overdue()) is not None:
                output = self.executor.kill(one.unit, show_stacks=reason.cause == "silent")
                try:
                    yield one, one.end(replace(reason, output=output))
                except OptbenchError as error:
                    yield one, error


class _Running:
    """A unit that runs, and the open files of its trials."""

    def __init__(self, dispatcher: Dispatcher, work: Work, slots: Sequence[Slot], listen: Listener) -> None:
        """Open the files. Raises `OptbenchError` if that is not possible."""
        self.slots, self.slot = slots, join_slots(slots)
        self.finished: dict[str, Status] = {}
        self._dispatcher, self._work, self._listen = dispatcher, work, listen
        self._folder = dispatcher.folder
        self._trials = {trial.id: trial for trial in work.trials}
        if isinstance(work, Stack):
            work.begin(self._folder)
            name, attempt = work.name, 1
        else:
            name, attempt = self._folder.trial_path(work.trial, work.attempt).stem, work.attempt
            if work.trial.engine == "stacked":
                archive_records(work.trials, self._folder)
        self._checkpoint = (
            work.checkpoint(self._folder)
            if isinstance(work, Stack)
            else self._folder.checkpoint_path(work.trial)
            if attempt == 1
            else None
        )
        self.unit = Unit(
            name,
            tuple(trial.model_copy(update={"folder": ""}) for trial in work.trials),
            dispatcher.settings,
            self._checkpoint.name if self._checkpoint else "",
            isinstance(work, Stack),
            time_ns(),
        )
        self._started = False
        self._last_message = monotonic()
        self._stop_asked_at: float | None = None
        with ExitStack() as opened:
            self._files = {
                trial.id: opened.enter_context(self._folder.open_trial(trial, attempt))
                for trial in work.trials
            }
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    @contextmanager
    def closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def handle(self, message: Message) -> Sequence[Work] | None:
        """Store a message and acknowledge it. Return the work that the unit leaves, None while it runs.

        Raises `OptbenchError` for a problem because of which no other unit can run.
        """
        executor, stop = self._dispatcher.executor, self._dispatcher.stop
        content = message.content
        if isinstance(content, Refused):
            executor.acknowledge(message, stop=True)
            raise OptbenchError(*content.problems)
        if isinstance(content, tuple):
            self._store(content)
            executor.acknowledge(message, stop=stop.is_requested)
            self._last_message = monotonic()
            return None
        if isinstance(content, Ended) and content.cause == "finished" and not self.finished:
            output = executor.kill(self.unit)
            content = Ended("died", "the trial's process ended without a result", output=output)
        else:
            executor.acknowledge(message, stop=stop.is_requested)
        assert not isinstance(content, Rendezvous)  # `PartsExecutor` handles it
        return self.end(content)

    def overdue(self) -> Ended | None:
        """Request a stop if the run was asked to stop. Return why the unit must be killed, None if it may continue."""
        now = monotonic()
        if self._dispatcher.stop.is_requested:
            if self._stop_asked_at is None:
                self._stop_asked_at = now
                self._dispatcher.executor.ask_to_stop(self.unit)
            limit = STOP_SECONDS if self._started else _SETUP_SECONDS
            if now - self._stop_asked_at > limit:
                return did_not_stop(limit)
        limit = self._dispatcher.stall_seconds
        return was_silent(limit) if now - self._last_message > limit else None

    def end(self, content: Ended | CannotStack) -> Sequence[Work]:
        """Store how the trials ended and remove checkpoints that are not needed. Return the work that the unit leaves."""
        if isinstance(self._work, Stack):
            return self._end_stack(self._work, content)
        [trial], [file] = self._work.trials, self._files.values()
        resumes = self._checkpoint is not None and self._checkpoint.exists()
        if not self.finished and isinstance(content, Ended):
            if self._is_lost(content):
                self._store(((trial.id, _lost_event(content, file.last_step or 0, resumes)),))
                return self._again(self._work)
            self._store(((trial.id, _final_event(content, file.last_step or 0, resumes)),))
        if file.is_complete and "paused" not in self.finished.values() and self._checkpoint is not None:
            remove_checkpoint(self._checkpoint, trial.id)
        return ()

    def _is_lost(self, content: Ended) -> bool:
        """Return whether the unit was lost with its host and continues: on another host, or after a stop in the next run."""
        return content.cause == "host" and self._work.losses < _MAX_LOSSES

    def _again(self, work: Work) -> Sequence[Work]:
        """Return a lost unit to start again in this run; nothing after a stop request."""
        return () if self._dispatcher.stop.is_requested else (replace(work, losses=self._work.losses + 1),)

    def _end_stack(self, stack: Stack, content: Ended | CannotStack) -> Sequence[Work]:
        left = [trial for trial in stack.trials if trial.id not in self.finished]
        if left and isinstance(content, Ended) and self._is_lost(content):
            resumes = stack.checkpoint(self._folder).exists()
            self._store(
                tuple((t.id, _lost_event(content, self._files[t.id].last_step or 0, resumes)) for t in left)
            )
            again = Stack(tuple(left), stack.name, resumes=True) if resumes else Stack.of(left)
            return self._again(again)
        if left and isinstance(content, Ended) and content.cause == "stopped":
            detail = f"{content.reason}; it {_restart(stack.checkpoint(self._folder).exists())}"
            self._store(
                tuple(
                    (t.id, Finished("interrupted", detail=detail, step=self._files[t.id].last_step or 0))
                    for t in left
                )
            )
            left = []
        if not {"interrupted", "paused"} & set(self.finished.values()):
            stack.remove_checkpoint(self._folder)
        smaller = content.then == "smaller" if isinstance(content, CannotStack) else content.cause == "memory"
        if smaller and len(left) > 1:
            return Stack.of(left).halves()
        return [Single(trial) for trial in left]

    def _store(self, events: Events) -> None:
        for trial, event in events:
            self._files[trial].append(event)
        for trial, event in events:
            self._started = self._started or isinstance(event, (Started, Resumed))
            if isinstance(event, Finished):
                self.finished[trial] = event.status
            self._listen(self._trials[trial], event)


def _final_event(ended: Ended, step: int, resumes: bool) -> Finished:
    """Return the last event of a trial whose worker ended without one.

    A crash or a hang is a failed trial. A kill from outside is an infrastructure fault, and the trial is retried (decision 9).
    """
    status: Status = "failed"
    fault: Fault = ""
    detail = ended.reason
    if ended.cause == "stopped":
        status = "interrupted"
        detail += f"; it {_restart(resumes)}"
    elif ended.cause == "memory":
        status = "out_of_memory"
    elif ended.cause in ("lost", "host") or ended.signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        fault = "infrastructure"
    else:
        detail = f"{detail}\n{ended.output}".strip()
    return Finished(status=status, detail=detail, step=step, at_fault=fault)


def _lost_event(ended: Ended, step: int, resumes: bool) -> Finished:
    """Return the event of a trial that was lost with its host and continues."""
    return Finished(
        "interrupted", detail=f"{ended.reason}; it {_restart(resumes)}", step=step, at_fault="infrastructure"
    )


def _all_lost(slots: Sequence[str]) -> OptbenchError:
    message = (
        f"all nodes were lost (the last was that of {slots[-1]}). Saved results are intact: run the same command again when the "
        "cluster has nodes, to continue"
    )
    return OptbenchError(message)


def _restart(resumes: bool) -> str:
    return "resumes from its last checkpoint" if resumes else "starts again from step 0"
