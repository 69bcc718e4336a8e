"""Imported by the server that forks the trials' processes, and by nothing else: loads torch once, for all of them, and reads
once what every trial would read of the installed packages."""

import contextlib
import os

# Ctrl-C and the signals of a scheduler go to the whole process group. They are for the run, which decides; its server must
# not die of them while a trial writes its checkpoint. It ends with the last process that it serves.
with contextlib.suppress(OSError):
    os.setpgid(0, 0)

import torch._dynamo  # noqa: F401  torch.optim imports it with the first optimizer: a second, in every trial

import optbench.engine.loop
import optbench.executor.worker  # noqa: F401
from optbench.catalog import lookup
from optbench.engine.environment import software

with contextlib.suppress(Exception):  # what can't be read is told by the trial that asks for it
    lookup.installed()
    software()
