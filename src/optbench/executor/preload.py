"""Imports of the fork server that starts the trials' processes. It loads torch and the metadata of installed packages once for all trials.

Only the fork server may import this module: it changes the handling of signals.
"""

import contextlib
import os
import warnings

from optbench.executor.descendants import adopt_orphans
from optbench.executor.worker import ignore_signals

# Ctrl-C reaches the whole process group, and a scheduler's signals reach each process of a job. Only the run handles them: the server
# must not end while a trial writes its checkpoint. It ends with the last process that it serves.
ignore_signals()
adopt_orphans()
warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")  # adopted orphans
with contextlib.suppress(OSError):
    os.setpgid(0, 0)

with contextlib.suppress(Exception):  # an error here occurs in the trial's process too, which reports it
    import torch._dynamo  # noqa: F401  torch.optim imports it with the first optimizer, which takes a second per trial

    import optbench.executor.training  # noqa: F401
    from optbench.catalog import lookup
    from optbench.engine.environment import software

    lookup.installed()
    software()
