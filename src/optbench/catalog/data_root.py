"""Folder of data sets and their caches."""

from __future__ import annotations

import os
from pathlib import Path


def data_root(option: str | os.PathLike[str] | None = None) -> Path:
    """Return the option, else OPTBENCH_DATA, else the platform's cache folder. Does not create it."""
    chosen = option or os.environ.get("OPTBENCH_DATA")
    if chosen:
        return Path(chosen).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_cache_dir("optbench")) / "data"
