"""Where the trials are in a folder of AlgoPerf submissions, and what their paths say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optbench.errors import OptbenchError
from optbench.importing.findings import Findings, short
from optbench.importing.targets import Targets

#: of one study; a trial's number in the store is study * TRIALS + trial
TRIALS = 1000
_RULESETS = {"external_tuning", "self_tuning"}
_DEPTH = 4  # folders between the logs' root and a submission


@dataclass(frozen=True)
class Place:
    """One trial's folder and what its path says."""

    path: Path
    submission: str
    study: int
    workload: str
    framework: str
    trial: int

    @property
    def seed(self) -> int:
        return self.study * TRIALS + self.trial


def find(logs: Path, targets: Targets, findings: Findings) -> Iterator[Place]:
    """Yield the folder of each trial below `logs`, a folder of submissions or one submission. Raises `OptbenchError` if it cannot be
    read.
    """
    if not logs.is_dir():
        what = "a file" if logs.exists() else "no such folder"
        raise OptbenchError(f"{what}: expected a folder of AlgoPerf submissions", file=str(logs))
    for submission, folder in _submissions(logs):
        for study_folder, study in _numbered(folder, "study"):
            for workload_folder in _folders(study_folder):
                workload, framework = split_name(workload_folder.name, targets)
                for path, trial in _numbered(workload_folder, "trial"):
                    if trial >= TRIALS:
                        findings.note("trials with a number that is too large: skipped", short(path, logs))
                        continue
                    yield Place(path, submission, study, workload, framework, trial)


def split_name(folder: str, targets: Targets) -> tuple[str, str]:
    """Split `wmt_glu_tanh_jax` into ("wmt_glu_tanh", "jax"); the name of a workload has no framework."""
    if folder in targets.targets or "_" not in folder:
        return folder, ""
    workload, _, framework = folder.rpartition("_")
    return workload, framework


def _submissions(logs: Path) -> list[tuple[str, Path]]:
    """Return (name, folder) of everything that contains studies. Names are paths where the folders' names are not unique."""
    found = sorted(_with_studies(logs, _DEPTH))
    rulesets = sorted({part for path in found for part in path.relative_to(logs).parts[:-1]} & _RULESETS)
    if len(rulesets) > 1:
        message = f"contains several rulesets ({', '.join(rulesets)}), which are scored separately: import one of these folders at a time"
        raise OptbenchError(message, file=str(logs))
    names = Counter(path.resolve().name for path in found)
    return [
        (path.resolve().name if names[path.resolve().name] == 1 else str(path.relative_to(logs)), path)
        for path in found
    ]


def _with_studies(folder: Path, depth: int) -> Iterator[Path]:
    if _numbered(folder, "study"):
        yield folder
    elif depth:
        for child in _folders(folder):
            yield from _with_studies(child, depth - 1)


def _numbered(folder: Path, word: str) -> list[tuple[Path, int]]:
    """Return the child folders `<word>_<number>`, by number."""
    found = [(path, re.fullmatch(rf"{word}_(\d{{1,6}})", path.name)) for path in _folders(folder)]
    return sorted(((path, int(match[1])) for path, match in found if match), key=lambda pair: pair[1])


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(
            child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")
        )
    except OSError as error:
        raise OptbenchError(f"cannot read: {error.strerror}", file=str(folder)) from error
