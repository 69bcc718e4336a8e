"""`optbench merge`: results of one suite made on several machines, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optbench.console import wrapped
from optbench.plurals import counted

app = typer.Typer(rich_markup_mode=None)


@app.command()
def merge(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Results roots, or suites' folders in them.")
    ],
    into: Annotated[
        Path,
        typer.Option(
            "--into", metavar="DIR", help="Parent folder of the suites' results: new, or with results."
        ),
    ],
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Join though devices or versions differ.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be copied, and copy nothing.")
    ] = False,
) -> None:
    """Join results of a suite that several machines made.

    Seeds or optimizers may be shared out among machines (`--set seeds=[5,6]`, `--only LABEL`); the report of the merged folder
    is that of a single run. Nothing is copied unless everything fits: the same resolved suite but for its seeds, the same
    configurations, device and versions (or --allow-mixed), no file damaged or cut off, no run at work, and no trial with
    different records in two places. Identical files count once; nothing is overwritten. A merge that was killed is finished by
    the same command.

    Examples:
      optbench merge machine-a/results machine-b/results --into results
      optbench merge a/digits b/digits c/digits --into all --dry-run

    Exit codes:
      0  merged, or merged before
      2  something does not fit: nothing was copied
    """
    from optbench.store.merge import apply_merge, plan_merge

    merges = plan_merge(paths, into, allow_mixed=allow_mixed)
    if not dry_run:
        apply_merge(merges, into)
    for one in merges:
        seeds = f", seeds {', '.join(map(str, one.plan.seeds))}" if one.plan else ""
        word = "would be copied" if dry_run else "copied"
        line = (
            f"{one.folder}: {counted(one.trials, 'trial')} {word}, {one.same} already there or twice{seeds}"
        )
        print(wrapped(line, indent=2))
        if not dry_run:
            _write_report(one.folder)
    if not dry_run:
        print(f"Next: optbench report {into}")


def _write_report(folder: Path) -> None:
    """As a run does at its end."""
    from optbench.report import save
    from optbench.store import read

    save(read([folder]), folder)
