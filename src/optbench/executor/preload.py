"""Imported by the server that forks the trials' processes, and by nothing else: loads torch once, for all of them, and reads
once what every trial would read of the installed packages."""

import contextlib
import os
import warnings

from optbench.executor.descendants import adopt_orphans
from optbench.executor.worker import ignore_signals

# Ctrl-C goes to the whole process group, and the signals of a scheduler to every process of a job. The run decides what they
# mean: its server must not die of them while a trial writes its checkpoint. It ends with the last process that it serves.
ignore_signals()
adopt_orphans()
warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")  # of adopted ones
with contextlib.suppress(OSError):
    os.setpgid(0, 0)

with contextlib.suppress(Exception):  # what fails here fails in the trial's process too, which reports it
    import torch._dynamo  # noqa: F401  torch.optim imports it with the first optimizer: a second, in every trial

    import optbench.engine.loop  # noqa: F401
    from optbench.catalog import lookup
    from optbench.engine.environment import software

    lookup.installed()
    software()
