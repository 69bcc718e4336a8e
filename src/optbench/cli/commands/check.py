"""Check suites and report all errors at once, with file and line.

No trial runs and no data set is loaded. For an unknown name the nearest valid name is shown. Optimizer classes outside of torch are
imported in another process; those of files and of packages that optbench does not know also take a few steps on small tensors, as does
any class that gets sparse gradients, as of embeddings with `sparse: true` (--static skips both). Notes report classes that need
rules, and learning rates or schedules without the usual effect.

Examples:
  optbench check digits
  optbench check suites/digits.yaml suites/smoke.yaml
  optbench check claims
  optbench check my_suite.yaml --static
  optbench check digits --set optimizers.Adam.lr=0.01

Exit codes:
  0  all suites are valid
  2  at least one suite has an error
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from optbench.catalog.rate_notes import rate_notes
from optbench.catalog.signatures import without_imports
from optbench.cli.options import Data, Seeds, Set, Suites
from optbench.console import wrapped
from optbench.errors import OptbenchError
from optbench.plurals import counted
from optbench.runner.class_check import ClassFindings, check_classes
from optbench.runner.several_nodes import notes_on_nodes
from optbench.runner.suite_check import examine_suites
from optbench.suite.load import sorted_by_line

PLACE = "Compare optimizers", 2


def check(
    suites: Suites,
    sets: Set = None,
    seeds: Seeds = None,
    data: Data = None,
    static: Annotated[bool, typer.Option("--static", help="Do not import optimizer classes.")] = False,
) -> None:
    with without_imports() if static else nullcontext():
        _check(suites, sets, seeds, data, static=static)


def _check(
    suites: list[str], sets: list[str] | None, seeds: int | None, data: str | None, *, static: bool
) -> None:
    examined = examine_suites(suites, tuple(sets or ()), seeds, data)
    findings = [
        ClassFindings() if static or loaded is None else check_classes(loaded) for loaded, _ in examined
    ]
    problems = [
        problem
        for (_, others), of_classes in zip(examined, findings, strict=True)
        for problem in sorted_by_line([*others, *of_classes.problems])
    ]
    if problems:
        raise OptbenchError(*problems)
    for (loaded, _), found in zip(examined, findings, strict=True):
        assert loaded is not None
        rows, workloads = len(loaded.suite.optimizers), len(loaded.suite.workloads) * len(loaded.cells)
        counts = (
            counted(rows, "optimizer"),
            counted(workloads, "workload"),
            counted(len(loaded.suite.seeds), "seed"),
        )
        print(wrapped(f"{loaded.path}: ok ({', '.join(counts)})", indent=2))
        for note in [*notes_on_nodes(loaded), *rate_notes(loaded), *found.notes]:
            print(wrapped(f"  note: {note}", indent=4))
