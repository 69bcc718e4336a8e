"""A trial's process without a trial, in a module that loads nothing else."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from optbench.executor.worker import exchange, flush_and_exit, isolate_process


def answer(connection: Connection, lifeline: Connection) -> None:
    """Say whether torch is loaded, and end as a trial's process does."""
    isolate_process(lifeline)
    exchange(connection, "torch" in sys.modules)
    flush_and_exit()
