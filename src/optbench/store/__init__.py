"""Store records on disk: append-only, crash-safe, mergeable by copying files."""

from optbench.store.folder import Plan, Row, SuiteFolder, make_plan
from optbench.store.journal import TrialFile
from optbench.store.read import Results, StoredSuite, SuiteResults, TrialLog, read

__all__ = [
    "Plan",
    "Results",
    "Row",
    "StoredSuite",
    "SuiteFolder",
    "SuiteResults",
    "TrialFile",
    "TrialLog",
    "make_plan",
    "read",
]
