"""A trial's process without a trial, in a module that loads nothing else."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from optbench.executor.worker import exchange, flush_and_exit, live_alone


def answer(connection: Connection, lifeline: Connection) -> None:
    """Say whether torch is loaded, and end as a trial's process does."""
    live_alone(lifeline)
    exchange(connection, "torch" in sys.modules)
    flush_and_exit()
