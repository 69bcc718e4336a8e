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

    Machines may share out seeds (`--set seeds=[5,6]`) or optimizers (`--only LABEL`); the report of the merged folder is that of a
    single run. Everything is checked and copied before the destination changes. Refused: another resolved suite except for its
    seeds, other configurations, devices or versions (see --allow-mixed), damaged or cut-off files, folders that a run is using,
    and trials with different records in two places. Identical files count once; records are never overwritten by others. If
    a merge is killed while it moves files into place, the same command finishes it.

    Examples:
      optbench merge machine-a/results machine-b/results --into results
      optbench merge a/digits b/digits c/digits --into all --dry-run

    Exit codes:
      0  merged, or merged before
      2  refused, or not all could be copied: the destination is unchanged
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
