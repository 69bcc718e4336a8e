"""Two executors of this machine as two nodes, for tests of trials on several nodes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from optbench.events import Event, Finished
from optbench.executor.api import Settings, StopRequest
from optbench.executor.dispatch import Dispatcher, Summary
from optbench.executor.local import LocalExecutor
from optbench.executor.parts import PartsExecutor
from optbench.executor.several_hosts import SeveralHosts
from optbench.store import SuiteFolder, TrialLog, read
from optbench.suite.types import Trial
from trials import DROPOUT, records, trials

ADAM = {"model": "net.py:net", "budget": "6 steps", "evaluate": {"every": "2 steps"}}


def one_trial(folder: Path, workload: dict[str, Any], **changes: Any) -> Trial:
    (folder / "net.py").write_text(DROPOUT)
    (trial,) = trials(folder, workload=workload, **changes)
    return trial


class Nodes:
    """Two executors of this machine as two nodes, and the stored results of trials on them."""

    def __init__(self, trial: Trial, folder: Path, threads: int = 1, stall_seconds: float = 60) -> None:
        self.trial, self.folder, self.threads, self.stall_seconds = trial, folder, threads, stall_seconds
        self.results = SuiteFolder.of(folder / "results", "tiny")
        self.results.create()
        self.stop = StopRequest()
        self.hosts: dict[str, LocalExecutor] = {}

    def run(self, listen: Callable[[Event], None] = lambda event: None) -> Summary:
        settings = Settings(threads=self.threads, allocator="default", checkpoint_seconds=0)
        self.hosts = {
            name: LocalExecutor(self.results.path, settings, self.folder, "cpu") for name in ("one", "two")
        }
        addresses = dict.fromkeys(self.hosts, "127.0.0.1")
        with closing(PartsExecutor(SeveralHosts(self.hosts, addresses))) as executor:
            slots = executor.open([self.trial], lambda line: None, self.stop)
            dispatcher = Dispatcher(executor, self.results, settings, self.stop, self.stall_seconds)
            summary = dispatcher.run_timed([self.trial], slots, lambda _, event: listen(event))
        assert not any(host._workers for host in self.hosts.values())
        return summary

    def worker_of(self, host: str) -> int:
        """Return the id of the process that runs the part of a node."""
        [worker] = self.hosts[host]._workers.values()
        assert worker.child.process.pid is not None
        return worker.child.process.pid

    @property
    def log(self) -> TrialLog:
        [log] = [one for one in read([self.results.path]).suites[0].logs if one.id == self.trial.id]
        return log

    @property
    def end(self) -> Finished:
        assert self.log.finished is not None
        return self.log.finished

    def records(self) -> str:
        return repr(records([*self.log.evaluations, self.end]))
