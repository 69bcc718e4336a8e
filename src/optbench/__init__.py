"""optbench: which optimizer, on this workload, and how sure are we?

The Python API: `load_suite`, `run`, `compare` and `read`. Nothing heavy is imported before one of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optbench.version import __version__ as __version__

__all__ = ["Figure", "Loaded", "OptbenchError", "Study", "compare", "load_suite", "read", "run"]

if TYPE_CHECKING:
    from optbench.api import Figure, Loaded, OptbenchError, Study, compare, load_suite, read, run


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'optbench' has no attribute '{name}'")
    import optbench.api as api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
