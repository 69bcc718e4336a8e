"""Limits of a process: a run with many slots opens many files."""

from __future__ import annotations

import subprocess
import sys


def test_a_run_may_open_more_files_than_the_usual_limit() -> None:
    code = (
        "import resource, sys\n"
        "from optbench.executor.limits import allow_open_files\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "allow_open_files(400)\n"
        "files = [open('/dev/null') for _ in range(400)]\n"
        "before = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "allow_open_files(1)  # never lowered\n"
        "allow_open_files(10**12)  # at most what is allowed\n"
        "soft, now = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "sys.exit(not (before[0] <= soft <= now == hard))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
