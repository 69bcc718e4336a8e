"""Runs the trials of a planned suite from a shared folder: any number of workers claim them one by one through leases.

The plan and a work list are written by `optbench run --executor shared` or `slurm`. Workers need the results folder and the suite's folder
at the same relative position, nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import Popen
from time import monotonic, sleep

from optbench.catalog.data_root import data_root
from optbench.errors import OptbenchError, Problem
from optbench.events import Event, Finished, Resumed, Started
from optbench.executor.api import Executor, Settings, Slot, StopRequest
from optbench.executor.dispatch import Dispatcher
from optbench.executor.joined_nodes import joined_nodes
from optbench.executor.local import LocalExecutor
from optbench.executor.parts import PartsExecutor
from optbench.executor.several_hosts import HostExecutor, SeveralHosts
from optbench.runner.environment_check import ADVICE_TO_WORKER, refuse_to_mix, refuse_unequal
from optbench.runner.options import RunOptions
from optbench.runner.several_nodes import most_nodes
from optbench.store import StoredSuite, SuiteFolder
from optbench.store.files import explained, write_whole
from optbench.store.input_files import read_file
from optbench.store.leases import LEASE_SECONDS, Lease, LeasedFolder, LeaseLost, Leases
from optbench.store.log import read_log
from optbench.store.records import from_json
from optbench.suite.resources import Resources
from optbench.suite.types import Trial
from optbench.suite_folders import has_results

FILE = "work.json"
_WAIT_SECONDS = 2.0  # between two looks for trials that other workers hold
_MAX_ATTEMPTS = 5  # at a trial that the infrastructure interrupts, after which it is left to other workers
_POLL_SECONDS = 1.0  # between two looks for a folder that is away
_AWAY_SECONDS = 900.0  # after which a folder that is away is given up
_AWAY = (
    errno.ESTALE,
    errno.EIO,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENODEV,
)


@dataclass(frozen=True)
class WorkList:
    """What workers of a suite's folder run, and how. `suite_folder` is relative to the results folder."""

    trials: tuple[tuple[str, int], ...]  # config id and seed, in order
    suite_folder: str
    device: str = "auto"
    data: str | None = None
    threads: int | None = None
    command: str = ""
    allocator: str = "tuned"
    checkpoint_seconds: float | None = None
    stall_seconds: float = 1800.0
    allow_mixed: bool = False
    resources: Resources = field(default_factory=Resources)

    @classmethod
    def of(
        cls, trials: Sequence[Trial], folder: SuiteFolder, options: RunOptions, resources: Resources
    ) -> WorkList:
        suite_folder = os.path.relpath(trials[0].folder, folder.path.resolve())
        return cls(
            tuple((trial.config_id, trial.seed) for trial in trials),
            suite_folder,
            options.device,
            options.data,
            options.threads,
            options.command,
            options.allocator,
            options.checkpoint_seconds,
            options.stall_seconds,
            options.allow_mixed,
            resources,
        )

    def write(self, folder: SuiteFolder) -> None:
        write_whole(
            folder.path / FILE,
            json.dumps(asdict(self) | {"resources": self.resources.model_dump()}, indent=2) + "\n",
        )

    @classmethod
    def read(cls, folder: SuiteFolder) -> WorkList:
        """Return the work list of the folder. Raises `OptbenchError` if there is none or it is damaged."""
        path = folder.path / FILE
        try:
            content = from_json(read_file(path, folder.path))
            content["trials"] = tuple((str(row), int(seed)) for row, seed in content["trials"])
            content["resources"] = Resources.model_validate(content["resources"])
            return cls(**content)
        except FileNotFoundError:
            message = "no work list: expected the folder of a suite planned by `optbench run SUITE --executor shared` (or slurm)"
            raise OptbenchError(message, file=str(folder.path)) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            message = "damaged work list: run the suite again with --executor shared or slurm"
            raise OptbenchError(message, file=str(path)) from error


def planned_trials(folder: SuiteFolder, work: WorkList) -> list[Trial]:
    """Return the trials of the work list from the stored plan.

    Raises `OptbenchError` if the plan is of another version, or if a file of the suite is missing or has changed since.
    """
    plan = folder.read_plan()
    if plan is None:
        raise OptbenchError(
            "no plan: run the suite again with --executor shared or slurm", file=str(folder.path)
        )
    suite_folder = str((folder.path / work.suite_folder).resolve())
    rows: dict[str, Trial] = {}
    for row in plan.rows:
        first = rows[row.config_id] = Trial.model_validate({**row.trial, "folder": suite_folder})
        if first.config_id != row.config_id:
            message = "planned by another version of optbench: install the same version on all machines"
            raise OptbenchError(message, file=str(folder.path / "plan.json"))
    trials = [rows[row].with_seed(seed) for row, seed in work.trials if row in rows]
    sources = {file: digest for trial in trials for file, digest in trial.sources.items()}
    problems = []
    for file, digest in sources.items():
        path = Path(suite_folder) / file
        try:
            same = hashlib.sha256(path.read_bytes()).hexdigest() == digest
            reason = "" if same else "changed since the suite was planned: run the suite again"
        except OSError as error:
            reason = f"cannot read this file of the suite: {error.strerror}"
        if reason:
            problems.append(Problem(reason, file=str(path)))
    if problems:
        raise OptbenchError(*problems)
    return trials


def is_complete(folder: SuiteFolder, trial: Trial) -> bool:
    """Return whether the trial has ended, by reading only."""
    try:
        return read_log(folder.trial_path(trial)).has_ended(trial.rung)
    except OptbenchError:
        return False


@dataclass
class Worker:
    """One worker of a shared folder."""

    folder: SuiteFolder
    stop: StopRequest
    message: Callable[[str], None]
    listen: Callable[[Trial, Event], None]
    lease_seconds: float = LEASE_SECONDS
    start_nodes: Callable[[int], Popen[bytes]] | None = None  # for trials on several nodes
    has_progressed: bool = False
    """Whether another run of a stopped worker continues from a later point: a trial has ended or was interrupted after a step from which
    it resumes, or other workers ran all that were left."""

    _first_step: int = 0  # of the running trial, since it was started or resumed
    _lease: Lease | None = None  # the last one that this worker held

    def run(self) -> dict[str, int]:
        """Run trials until none is left. Return the number of trials by final status.

        Raises `OptbenchError` if the folder, the data or the device cannot be used. A folder that goes away, as when a file server
        restarts, is waited for.
        """
        ended: dict[str, int] = {}
        WorkList.read(self.folder)
        while True:
            try:
                self._run_all(ended)
                return ended
            except (OSError, OptbenchError) as error:
                reason = _why_away(error, self.folder)
                if not reason or self.stop.is_requested:
                    raise
                self._wait_for_folder(reason, error)
                if not (self.folder.path / FILE).exists():  # the run has ended meanwhile
                    return ended

    def _wait_for_folder(self, reason: str, error: Exception) -> None:
        """Wait until the folder can be reached again. Raises `error` after `_AWAY_SECONDS`."""
        self.message(f"note: {self.folder.path} cannot be reached ({reason}): waiting for it")
        since = monotonic()
        while not self.stop.is_requested:
            sleep(_POLL_SECONDS)
            if not has_results(self.folder.path):
                if monotonic() - since > _AWAY_SECONDS:
                    raise error
                continue
            self.message(f"note: {self.folder.path} can be reached again after {monotonic() - since:.0f} s")
            if self._lease is not None and not self._lease.is_lost:
                self._lease.release()  # of a trial that was interrupted: it resumes
            return

    def _run_all(self, ended: dict[str, int]) -> None:
        """Run trials until none is left, and count them in `ended`. Raises `OptbenchError` or `OSError` if the folder is away."""
        work = WorkList.read(self.folder)
        left = {trial.id: trial for trial in planned_trials(self.folder, work)}
        rows = {trial.config_id for trial in left.values()}
        leases = Leases(self.folder, self.lease_seconds)
        settings = Settings(
            work.threads, work.command, work.allocator, work.checkpoint_seconds, work.resources
        )
        slots: tuple[Slot, ...] = ()
        with self._executor(work, settings, most_nodes(list(left.values()))) as executor:
            while left and not self.stop.is_requested:
                claimed = False
                for trial in list(left.values()):
                    if self.stop.is_requested:
                        break
                    if is_complete(self.folder, trial):
                        del left[trial.id]
                        continue
                    # never create files where the folder is not mounted
                    if not has_results(self.folder.path):
                        raise FileNotFoundError(errno.ENOENT, "no such folder", str(self.folder.path))
                    if not slots:
                        slots = executor.open(list(left.values()), self.message, self.stop)
                        if not slots:
                            break
                        if not work.allow_mixed:
                            refuse_unequal(slots)
                            stored = StoredSuite(self.folder.path)
                            refuse_to_mix(stored, rows, slots[0].environment, ADVICE_TO_WORKER)
                    lease = leases.claim(trial.id)
                    if lease is None:
                        continue
                    if not _has_work_list(self.folder):
                        lease.withdraw()
                        return
                    claimed, self._lease = True, lease
                    del left[trial.id]
                    with lease.kept(self.lease_seconds):
                        if not is_complete(self.folder, trial):
                            statuses = self._run_trial(trial, lease, executor, slots, settings, work)
                            if lease.attempt < _MAX_ATTEMPTS and not is_complete(self.folder, trial):
                                left[trial.id] = trial  # the infrastructure interrupted it
                                continue
                            for status in statuses:
                                ended[status] = ended.get(status, 0) + 1
                if left and not claimed and not self.stop.is_requested:
                    self._wait()

    @contextmanager
    def _executor(self, work: WorkList, settings: Settings, nodes: int) -> Iterator[Executor]:
        """Yield the executor of this machine and of the others that trials on several nodes need."""
        path = self.folder.path
        with closing(LocalExecutor(path, settings, data_root(work.data), work.device)) as here:
            if nodes == 1:
                yield here
                return
            if self.start_nodes is None:
                raise OptbenchError(f"trials on {nodes} nodes need a SLURM job", where="nodes")
            with joined_nodes(nodes - 1, self.start_nodes) as others:
                name = os.environ.get("SLURMD_NODENAME") or platform.node()
                hosts: dict[str, HostExecutor] = {name: here}
                addresses = {name: others[0].worker_address}
                for number, node in enumerate(others, 1):
                    node.configure(path, settings, work.data, work.device)
                    if node.name in hosts:  # several nodes on one machine
                        node.name = f"{node.name}-{number}"
                    hosts[node.name], addresses[node.name] = node, node.address
                yield PartsExecutor(SeveralHosts(hosts, addresses))

    def _run_trial(
        self,
        trial: Trial,
        lease: Lease,
        executor: Executor,
        slots: Sequence[Slot],
        settings: Settings,
        work: WorkList,
    ) -> Sequence[str]:
        if lease.attempt > 1:
            self.message(f"{trial.label}, seed {trial.seed}: attempt {lease.attempt}")
        leased = LeasedFolder(self.folder.path, lease)
        leased.adopt_checkpoint(trial)
        dispatcher = Dispatcher(executor, leased, settings, self.stop, work.stall_seconds)
        try:
            return list(dispatcher.run_timed([trial], slots, self._receive).ended)
        except LeaseLost as error:
            self.message(f"note: {error}")
            return ()
        finally:
            leased.hand_over_checkpoint(trial)

    def _receive(self, trial: Trial, event: Event) -> None:
        if isinstance(event, Started | Resumed):
            self._first_step = event.step if isinstance(event, Resumed) else 0
        elif isinstance(event, Finished):
            resumes_later = event.step > self._first_step and not event.resume_note
            self.has_progressed |= event.status != "interrupted" or resumes_later
        self.listen(trial, event)

    def _wait(self) -> None:
        self.has_progressed = True
        until = monotonic() + min(_WAIT_SECONDS, self.lease_seconds / 4)
        while monotonic() < until and not self.stop.is_requested:
            sleep(0.05)


def _why_away(error: BaseException | None, folder: SuiteFolder) -> str:
    """Return why the folder is away, "" if the error has another cause."""
    chain: list[OSError] = []
    while error is not None:
        chain += [error] if isinstance(error, OSError) else []
        error = error.__cause__ or error.__context__
    away = next((one for one in chain if one.errno in _AWAY), None)
    if away is not None:
        return away.strerror or "no answer"
    return "" if has_results(folder.path) else "it does not exist"


def _has_work_list(folder: SuiteFolder) -> bool:
    """Return whether the run still needs workers. A run that has ended, or another command, removes its work list."""
    return (folder.path / FILE).exists() or not has_results(folder.path)


def check_not_held(folder: SuiteFolder) -> None:
    """Raise `OptbenchError` if workers run trials of the folder now."""
    if held := Leases(folder).held():
        hosts = ", ".join(sorted(set(held.values())))
        message = f"workers on {hosts} run {len(held)} of its trials: wait until they end (`optbench run --executor shared` follows them)"
        raise OptbenchError(message, file=str(folder.path))


def refuse_held(folder: SuiteFolder) -> None:
    """Remove the work list and the leases that workers left, so that no worker starts a trial. Raises as `check_not_held`.

    A worker claims a lease and then looks for the work list; here the list is removed before the second look for leases.
    """
    check_not_held(folder)
    path = folder.path / FILE
    try:
        content = read_file(path, folder.path)
        path.unlink()
    except FileNotFoundError:
        content = None
    except OSError as error:
        raise explained(error, path) from error
    try:
        check_not_held(folder)
    except OptbenchError:
        if content is not None:
            write_whole(path, content)
        raise
    Leases(folder).retire(folder)
