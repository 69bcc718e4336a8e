"""`optbench doctor`: is everything here that runs need?"""

from __future__ import annotations

from pathlib import Path

import typer

from optbench.cli.options import Data, Device, ResultsRoot

app = typer.Typer(rich_markup_mode=None)


@app.command()
def doctor(results: ResultsRoot = Path("results"), data: Data = None, device: Device = "auto") -> None:
    """Check the installation, the device and a first training.

    GPU, processor, data root, results folder, disk: every finding with what to do about it.

    Examples:
      optbench doctor
      optbench doctor --device cuda:1 --results /scratch/results

    Exit codes:
      0  runs will work
      1  something must be mended first
      2  bad input
    """
    from optbench.cli.doctor import doctor as examine

    raise typer.Exit(examine(results, data, device))
