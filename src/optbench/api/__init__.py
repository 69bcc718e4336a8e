"""The Python API, for notebooks and scripts."""

from optbench.api.functions import compare, load_suite, read, run
from optbench.api.study import Figure, Study
from optbench.errors import OptbenchError
from optbench.suite.load import Loaded

__all__ = ["Figure", "Loaded", "OptbenchError", "Study", "compare", "load_suite", "read", "run"]
