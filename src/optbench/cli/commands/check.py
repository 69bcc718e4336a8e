"""Check suites and report all errors at once, with file and line.

Nothing is run, and neither torch nor a data set is loaded. For an unknown name the nearest valid name is shown.

Examples:
  optbench check digits
  optbench check suites/digits.yaml suites/smoke.yaml
  optbench check claims
  optbench check digits --set optimizers.Adam.lr=0.01

Exit codes:
  0  all suites are valid
  2  at least one suite has an error
"""

from __future__ import annotations

from optbench.cli.options import Data, Seeds, Set, Suites
from optbench.console import wrapped
from optbench.plurals import counted
from optbench.runner.suite_check import check_suites

PLACE = "Compare optimizers", 2


def check(suites: Suites, sets: Set = None, seeds: Seeds = None, data: Data = None) -> None:
    for loaded in check_suites(suites, tuple(sets or ()), seeds, data):
        rows, workloads = len(loaded.suite.optimizers), len(loaded.suite.workloads) * len(loaded.cells)
        counts = (
            counted(rows, "optimizer"),
            counted(workloads, "workload"),
            counted(len(loaded.suite.seeds), "seed"),
        )
        found = ", ".join(counts)
        print(wrapped(f"{loaded.path}: ok ({found})", indent=2))
