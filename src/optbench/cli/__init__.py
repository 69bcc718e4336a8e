"""The command line: `main` is the console script. Commands parse, call and print; all logic is in the other rooms."""

from __future__ import annotations

import os
import sys

from optbench.errors import OptbenchError


def main() -> None:
    """Run `optbench`. A user's mistake ends with its place and exit code 2, never with a traceback."""
    from optbench.cli.app import app

    try:
        app()
    except OptbenchError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        count = len(error.problems)
        if count > 1:
            print(f"{count} problems", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `optbench report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
