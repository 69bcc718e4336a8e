"""The command line: `main` is the console script. Commands parse, call and print; all logic is in the other rooms."""

from __future__ import annotations

import gc
import io
import os
import sys

from optbench.errors import OptbenchError


def main() -> None:
    """Run `optbench`. A user's mistake ends with its place and exit code 2, never with a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: no label is worth a traceback
    gc.set_threshold(100_000, 20, 100)  # a report makes a million objects, and few of them in cycles
    try:
        from optbench.cli.app import app

        app()
    except OptbenchError as error:
        _explain(error)
        sys.exit(2)
    except BrokenPipeError:  # `optbench report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _explain(error: OptbenchError) -> None:
    """Every problem, without what a hostile name in it could do to the terminal."""
    from optbench.report.text import clean

    for problem in error.problems:
        print("\n".join(map(clean, f"error: {problem}".split("\n"))), file=sys.stderr)
    if len(error.problems) > 1:
        print(f"{len(error.problems)} problems", file=sys.stderr)
