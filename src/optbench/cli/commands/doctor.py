"""Check the installation, the device and a short training run.

Checks GPU, processor, data folder, results folder and disk. Each problem is shown with a fix.

Examples:
  optbench doctor
  optbench doctor --device cuda:1 --results /scratch/results

Exit codes:
  0  ready to run
  1  a problem must be fixed first
  2  bad input
"""

from __future__ import annotations

from pathlib import Path

import typer

from optbench.catalog.data_root import data_root
from optbench.cli.options import Data, Device, ResultsRoot
from optbench.console import wrapped
from optbench.executor.health import examine
from optbench.report.text import clean

PLACE = "Check the installation", 1


def doctor(results: ResultsRoot = Path("results"), data: Data = None, device: Device = "auto") -> None:
    raise typer.Exit(print_findings(results, data, device))


_SIGNS = {"ok": "ok", "warning": "!", "bad": "x"}


def print_findings(results: Path, data: str | None, device: str) -> int:
    """Print each finding with its fix. Returns exit code 1 if runs would fail."""
    states = []
    for finding in examine(data_root(data), results, device):
        states.append(finding.state)
        line = clean(f"{_SIGNS[finding.state]:>2}  {finding.topic:<13} {finding.detail}")
        print(wrapped(line, indent=18), flush=True)
        if finding.advice:
            print(wrapped(clean(f"{'':<17} -> {finding.advice}"), indent=21), flush=True)
    bad, warned = states.count("bad"), states.count("warning")
    if bad:
        print(f"\n{bad} problem{'s' * (bad > 1)} to fix before a run can succeed")
    elif warned:
        print(f"\nReady to run, with {warned} warning{'s' * (warned > 1)}")
    else:
        print("\nReady to run: optbench run digits")
    return 1 if bad else 0
