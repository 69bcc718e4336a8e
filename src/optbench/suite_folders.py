"""Folders with the results of a suite, found without reading the results."""

from __future__ import annotations

from pathlib import Path


def suite_folders(path: Path) -> list[Path]:
    """Return the folders with the results of one suite each: the path itself or those in it; empty if there are none."""
    if is_suite_folder(path):
        return [path]
    return sorted(filter(is_suite_folder, path.iterdir())) if path.is_dir() else []


def is_suite_folder(path: Path) -> bool:
    """Return whether a folder has a plan or records."""
    return (path / "plan.json").is_file() or any((path / "trials").glob("*.jsonl"))
