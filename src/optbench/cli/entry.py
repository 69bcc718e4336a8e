"""The console script: runs a command, and turns errors into messages and exit codes."""

from __future__ import annotations

import gc
import sys
from typing import Any

from optbench.cli.app import app
from optbench.cli.streams import flush_or_discard_output, prepare_streams
from optbench.console import clean
from optbench.errors import OptbenchError, ReaderGone, describe_error
from optbench.executor.limits import memory_limits

_READER_GONE = 128 + 13  # as a shell reports a program that SIGPIPE ended


def main() -> None:
    """Run `optbench` and exit. A user's mistake ends with its place and exit code 2, never with a traceback."""
    prepare_streams()
    gc.set_threshold(100_000, 20, 100)  # a report makes a million objects, and few of them in cycles
    try:
        code = _run()
    except OptbenchError as error:
        _explain(error)
        code = 2
    except (ImportError, MemoryError) as error:
        limits = memory_limits()
        if not limits:
            raise
        _explain(OptbenchError(f"cannot continue: {describe_error(error)}{limits}"))
        code = 2
    except ReaderGone:  # `optbench report | head`
        code = _READER_GONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    flush_or_discard_output()
    sys.exit(code)


def _run() -> Any:
    """Return the exit code, once everything is written."""
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    return code


def _explain(error: OptbenchError) -> None:
    """Print each problem, without control characters."""
    for problem in error.problems:
        print("\n".join(map(clean, f"error: {problem}".split("\n"))), file=sys.stderr)
    if len(error.problems) > 1:
        print(f"{len(error.problems)} problems", file=sys.stderr)
