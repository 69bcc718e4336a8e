"""Trials on several nodes: which executors run them, and what `check` and `plan` state about them."""

from __future__ import annotations

from collections.abc import Sequence

from optbench.errors import OptbenchError
from optbench.plurals import counted
from optbench.suite.load import Loaded
from optbench.suite.types import Trial


def most_nodes(trials: Sequence[Trial]) -> int:
    """Return the maximum number of nodes of a trial."""
    return max((trial.workload.nodes for trial in trials), default=1)


def notes_on_nodes(loaded: Loaded) -> list[str]:
    """Return a sentence for each kind of trial on several nodes."""
    notes = [
        f"'{name}': each trial trains on {counted(workload.world_size, 'device')}, {workload.devices} on each of {workload.nodes} "
        "nodes, with --executor slurm or ray"
        for cell in loaded.cells
        for name, workload in cell.loaded.suite.workloads.items()
        if workload.nodes > 1
    ]
    return list(dict.fromkeys(notes))


def refuse_on_one_machine(loaded: Loaded, executor: str) -> None:
    """Raise `OptbenchError` if the suite has trials on several nodes, and the executor starts each trial on one machine."""
    if executor in ("slurm", "ray"):
        return
    for cell in loaded.cells:
        for name, workload in cell.loaded.suite.workloads.items():
            if workload.nodes > 1:
                message = (
                    f"a trial on {workload.nodes} nodes does not run with --executor {executor}: expected --executor slurm or ray. "
                    f"On one machine, use `devices: {workload.world_size}`"
                )
                raise OptbenchError(cell.loaded.problem_at(("workloads", name, "nodes"), message))
