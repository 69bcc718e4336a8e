"""Merge results of the same suite from several machines.

Each machine can run some of the seeds (`--set seeds=[5,6]`) or optimizers (`--only LABEL`). The report of the merged folder
is that of a single run. The destination changes only after everything was checked and copied. Errors: the resolved suites
differ in more than their seeds, configurations, devices or versions differ (see --allow-mixed), a file is damaged or cut off,
a run is using a folder, or a trial has different records in two folders. Identical files count once. Records are never
overwritten. If a merge is killed while it moves files, the same command finishes it.

Examples:
  optbench merge machine-a/results machine-b/results --into results
  optbench merge a/digits b/digits c/digits --into all --dry-run

Exit codes:
  0  merged, or nothing to merge
  2  an error: the destination is unchanged
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from optbench.cli.options import argument, flag, option
from optbench.console import wrapped
from optbench.plurals import counted
from optbench.report import save
from optbench.store import read
from optbench.store.merge import apply_merge, plan_merge

PLACE = "Import and share", 1


def merge(
    paths: Annotated[list[Path], argument("RESULTS...", "Results folders, or folders that contain them.")],
    into: Annotated[
        Path, option("DIR", "Parent folder of the merged results. It may contain results already.")
    ],
    allow_mixed: Annotated[
        bool, flag("--allow-mixed", "Merge even if devices or software versions differ.")
    ] = False,
    dry_run: Annotated[bool, flag("--dry-run", "Check everything and show what would be copied.")] = False,
) -> None:
    merges = plan_merge(paths, into, allow_mixed=allow_mixed)
    if not dry_run:
        apply_merge(merges, into)
    for one in merges:
        seeds = f", seeds {', '.join(map(str, one.plan.seeds))}" if one.plan else ""
        word = "would be copied" if dry_run else "copied"
        line = f"{one.folder}: {counted(one.trials, 'trial')} {word}, {one.same} identical or already merged{seeds}"
        print(wrapped(line, indent=2))
        if not dry_run:
            save(read([one.folder]), one.folder)
    if not dry_run:
        print(f"Next: optbench report {into}")
