"""`optbench doctor`: check that this machine can run suites."""

from __future__ import annotations

from pathlib import Path

import typer

from optbench.cli.options import Data, Device, ResultsRoot

app = typer.Typer(rich_markup_mode=None)


@app.command()
def doctor(results: ResultsRoot = Path("results"), data: Data = None, device: Device = "auto") -> None:
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
    from optbench.cli.doctor import doctor as examine

    raise typer.Exit(examine(results, data, device))
