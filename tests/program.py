"""The program called in this process, word for word as on a command line.

A process of its own imports torch for seconds, and a run's first trial does so once more. Tests that need what only a process has
(signals, a terminal, what is imported) start one: `real_runs.Run`.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from optbench.cli.entry import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def optbench(*arguments: str | Path, cwd: Path, **environment: str) -> Done:
    """`optbench ARGUMENTS` in folder `cwd`."""
    words = ["optbench", *map(str, arguments)]
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys.modules["__main__"], "__package__", ""),  # else click names the program pytest
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        code = _exit_code()
    return Done(code, output.getvalue(), errors.getvalue())


def typed(line: str, cwd: Path) -> Done:
    """A line as it stands in a document: `optbench ...`, no pipe in it."""
    name, *arguments = shlex.split(line)
    assert name == "optbench"
    return optbench(*arguments, cwd=cwd)


def _exit_code() -> int:
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)  # text would be a message, which `main` never ends with
    return 0
