"""A worker process without a trial, in a module that imports nothing else."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from optbench.executor.worker import exchange, flush_and_exit, isolate_process


def report_torch_loaded(connection: Connection, lifeline: Connection) -> None:
    """Send whether torch is loaded, and exit as a trial's process does."""
    isolate_process(lifeline)
    exchange(connection, "torch" in sys.modules)
    flush_and_exit()
