"""Folders with the results of a suite, found without reading the results."""

from __future__ import annotations

from pathlib import Path

#: name of the file with the packed records of a folder
ARCHIVE = "records.tar.xz"


def suite_folders(path: Path) -> list[Path]:
    """Return the folders with the results of one suite each: the path itself or those in it; empty if there are none."""
    if has_results(path):
        return [path]
    return sorted(filter(has_results, path.iterdir())) if path.is_dir() else []


def has_results(folder: Path) -> bool:
    """Return whether the folder contains the results of a suite."""
    single_files = (folder / "plan.json", folder / ARCHIVE)
    return any(file.is_file() for file in single_files) or any((folder / "trials").glob("*.jsonl"))
