"""A loaded suite -> its trials, in running order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from optbench.errors import OptbenchError
from optbench.suite.load import Loaded
from optbench.suite.reference import file_and_name
from optbench.suite.types import Optimizer, Suite, Trial, Workload


def plan(loaded: Loaded) -> tuple[Trial, ...]:
    """All trials: seed by seed, workload by workload, entries forwards and then backwards (A B C C B A).

    A machine that drifts thus drifts for all entries alike. Raises `OptbenchError` if a named file can't be read.
    """
    suite = loaded.suite
    hashes = _Hashes(loaded)
    rows = {
        name: [_row(loaded, name, label, hashes) for label in suite.optimizers] for name in suite.workloads
    }
    trials = []
    for position, seed in enumerate(suite.seeds):
        for row in rows.values():
            for first in row if position % 2 == 0 else reversed(row):
                trials.append(_with_seed(first, seed))
    return tuple(trials)


def merged(suite: Suite, entry: Optimizer) -> Optimizer:
    """The entry with the suite's shared settings where it has none of its own. What it sets to null stays off."""
    own = entry.model_fields_set
    shared = {
        "schedule": suite.schedule,
        "clip": suite.clip,
        "ema": suite.ema,
        "no_weight_decay": suite.no_weight_decay,
    }
    taken = {key: value for key, value in shared.items() if key not in own}
    if entry.schedule is None:
        taken["schedule"] = suite.schedule if "schedule" not in own else type(suite.schedule)(name="constant")
    if entry.no_weight_decay is None and "no_weight_decay" in own:
        taken["no_weight_decay"] = ()
    return entry.model_copy(update=taken)


def _row(loaded: Loaded, workload_name: str, label: str, hashes: _Hashes) -> Trial:
    suite = loaded.suite
    workload, entry = suite.workloads[workload_name], merged(suite, suite.optimizers[label])
    trial = Trial(
        suite=loaded.name,
        workload_name=workload_name,
        workload=workload,
        label=label,
        entry=entry,
        seed=suite.seeds[0],
        precision=suite.precision,
        implementation=suite.implementation,
        sources=hashes.of(workload_name, workload, label, entry),
        folder=str(loaded.folder.resolve()),
    )
    assert trial.config_id  # hashed here, once for all seeds of the row
    return trial


def _with_seed(first: Trial, seed: int) -> Trial:
    """A copy that keeps the row's `config_id`, of which the seed is no part."""
    trial = first.model_copy(update={"seed": seed})
    trial.__dict__["config_id"] = first.config_id
    return trial


class _Hashes:
    """SHA-256 of the Python files that a suite names, each read once."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.known: dict[str, str] = {}

    def of(self, workload_name: str, workload: Workload, label: str, entry: Optimizer) -> dict[str, str]:
        """By path from the suite's folder."""
        sources = {}
        for path, name in _named(workload_name, workload, label, entry):
            if found := file_and_name(name):
                file = PurePosixPath(found[0].replace("\\", "/")).as_posix()
                sources[file] = self._hash(file, path)
        return dict(sorted(sources.items()))

    def _hash(self, file: str, path: tuple[str | int, ...]) -> str:
        if file not in self.known:
            try:
                content = (self.loaded.folder / file).read_bytes()
            except OSError as error:
                message = f"cannot read '{file}' in {self.loaded.folder}: {error.strerror}"
                raise OptbenchError(self.loaded.problem_at(path, message)) from None
            self.known[file] = hashlib.sha256(content).hexdigest()
        return self.known[file]


def _named(
    workload_name: str, workload: Workload, label: str, entry: Optimizer
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Everything that a trial names, with its typed path."""
    here = ("workloads", workload_name)
    yield (*here, "model", "name"), workload.model.name
    yield (*here, "data", "name"), workload.data.name
    yield (*here, "loss", "name"), workload.loss.name
    for position, metric in enumerate(workload.metrics):
        yield (*here, "metrics", position), metric
    for position, rule in enumerate(entry.rules):
        yield ("optimizers", label, "rules", position, "use"), rule.use
    if entry.schedule is not None:
        yield ("optimizers", label, "schedule", "name"), entry.schedule.name
