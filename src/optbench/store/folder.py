"""The results folder of one suite: its plan, records, checkpoints and reports."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from optbench.errors import OptbenchError
from optbench.events import Event
from optbench.store.archive import has_record, read_record, read_stored_plan, record_paths, unpack
from optbench.store.files import explained, folder_name, make_folder, slug, sweep, sync_folder, write_whole
from optbench.store.journal import TrialFile, whole_text
from optbench.store.lock import locked
from optbench.store.log import read_log
from optbench.store.plan_content import check_plan
from optbench.store.records import FORMAT, Corrupt, check_format, from_json, to_line
from optbench.suite.metric_facts import MetricFacts, facts_by_name
from optbench.suite.types import Suite, Trial

_MAX_PLAN_BYTES = 64_000_000


@dataclass(frozen=True)
class Row:
    """A row of every table: trials that differ only in their seed. `trial` is the resolved first of them.

    `seeds`: those planned for this row, if they are not all seeds of the plan. Rows of several tuning studies divide the seeds.
    """

    config_id: str
    trial: dict[str, Any]
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """The plan of a suite, in the order of the tables."""

    suite: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    resolved: dict[str, Any]  # the whole suite, resolved
    command: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)  # suite file, its revision, when
    metrics: dict[str, MetricFacts] = field(default_factory=dict)  # of those that state their facts


def make_plan(
    name: str,
    suite: Suite,
    trials: Sequence[Trial],
    command: str = "",
    provenance: dict[str, Any] | None = None,
    metrics: dict[str, MetricFacts] | None = None,
) -> Plan:
    """Return the plan. `trials` are all trials of the suite, also if a run includes only some: tables show every row."""
    first: dict[str, Trial] = {}
    divided: dict[str, list[int]] = {}
    studies = suite.tuning.studies if suite.tuning is not None else 1
    for trial in trials:
        first.setdefault(trial.config_id, trial)
        if studies > 1 and trial.selected_by is not None:
            divided.setdefault(trial.config_id, []).append(trial.seed)
    rows = tuple(
        Row(
            config_id,
            trial.model_dump(mode="json", exclude={"folder"}),
            tuple(divided[config_id]) if config_id in divided else None,
        )
        for config_id, trial in first.items()
    )
    resolved = suite.model_dump(mode="json")
    return Plan(name, rows, suite.seeds, resolved, command, provenance or {}, metrics or {})


def trial_name(trial: Trial, attempt: int = 1) -> str:
    """Return the name of a trial's file. The id and the number of the attempt make it unique; the rest is for readability."""
    stem = f"{slug(trial.workload_name, 30)}--{slug(trial.label, 40)}--seed{trial.seed}--{trial.id}"
    return f"{stem}{f'--attempt{attempt}' if attempt > 1 else ''}.jsonl"


def _metrics(content: dict[str, Any]) -> dict[str, MetricFacts]:
    """Return the facts of a plan. Older plans state directions, and some of them ranges, without units."""
    metrics = {name: MetricFacts(**stated) for name, stated in content.get("metrics", {}).items()}
    ranges = content.get("metric_ranges", {})
    for name, higher in content.get("higher_is_better", {}).items():
        facts = facts_by_name(name, higher)
        if name in ranges:
            low, high = ranges[name]
            facts = MetricFacts(higher, low, high, facts.unit)
        metrics.setdefault(name, facts)
    return metrics


@dataclass(frozen=True)
class SuiteFolder:
    """Paths and files below `<results>/<suite>/`. The constructor does not access the disk."""

    path: Path

    @classmethod
    def of(cls, results: Path, suite_name: str) -> SuiteFolder:
        return cls(results / folder_name(suite_name))

    def create(self) -> None:
        """Create the folder and check that it is writable. Raises `OptbenchError` with the fix."""
        for folder in (self.path, self.trials, self.checkpoints):
            make_folder(folder)
        for folder in (self.trials, self.checkpoints):
            if not os.access(folder, os.W_OK | os.X_OK):
                is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
                raise explained(OSError(errno.EROFS if is_read_only else errno.EACCES, ""), folder)

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder while the block runs. Raises `OptbenchError` with the process that has the lock."""
        with locked(self.path / "run.lock"):
            sweep(self.path)
            sweep(self.trials)
            yield

    def unpack(self) -> int:
        """Restore the single files of records in the archive of `optbench pack`. Return the number of trials. Hold the lock."""
        done = unpack(self.path)
        make_folder(self.trials)
        return done.trials if done is not None else 0

    def trial_path(self, trial: Trial, attempt: int = 1) -> Path:
        return self.trials / trial_name(trial, attempt)

    def checkpoint_path(self, trial: Trial) -> Path:
        return self.checkpoints / f"{trial.id}.pt"

    def open_trial(self, trial: Trial, attempt: int = 1) -> TrialFile:
        """Resume the trial's file, or create one.

        A rerun always starts from scratch, because the seconds of an interrupted attempt are not usable; its incomplete
        records are moved to `superseded/`.
        """
        if attempt == 1:
            return self.reopen_trial(trial) or TrialFile.create(self.trial_path(trial), trial)
        path = self.trial_path(trial, attempt)
        self.set_file_aside(path)
        return TrialFile.create(path, trial, attempt)

    def reopen_trial(self, trial: Trial) -> TrialFile | None:
        """Return the trial's file if it exists. A file without a complete first line is moved to `superseded/`."""
        path = self.trial_path(trial)
        try:
            begun = b"\n" in read_record(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error
        if begun:
            return TrialFile.open(path).continued(trial.rung)
        self.set_file_aside(path)
        return None

    def write_trial(self, trial: Trial, events: Iterable[Event]) -> Literal["new", "same", "replaced"]:
        """Write a trial whose events are all known atomically. A file with the same content is not changed.

        Not synced to disk, as there may be thousands: `sync_all` after the last.
        """
        path, text = self.trial_path(trial), whole_text(trial, events)
        try:
            known = read_record(path) if path.exists() else None
        except OSError as error:
            raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error
        if known == text.encode("utf-8", "backslashreplace"):
            return "same"
        write_whole(path, text, sync=False)
        return "new" if known is None else "replaced"

    def copy_trial(self, trial: Trial, source: SuiteFolder) -> bool:
        """Copy the records of a trial with the same id, of all attempts, from another folder. Return whether that was possible.

        It is not if the trial is not complete there (a paused one continues from a checkpoint, which is not copied), or was not timed
        there and is here.
        """
        first = source.trial_path(trial)
        if not has_record(first):
            return False
        try:
            log = read_log(first)
        except OptbenchError:
            return False
        if not log.has_ended(None) or (trial.timed and not log.row.get("timed", True)):
            return False
        marker = f"--{trial.id}--attempt"
        for path in (first, *(path for path in record_paths(source.path) if marker in path.name)):
            try:
                head, _, events = read_record(path).decode("utf-8").partition("\n")
            except OSError as error:
                raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error
            header = from_json(head) | {"trial": trial.model_dump(mode="json", exclude={"folder"})}
            write_whole(self.trials / path.name, to_line(header) + events)
        return True

    def set_aside(self, trial: Trial) -> Path | None:
        """Move the trial's records of all attempts to `superseded/`, so that it runs from scratch, and delete its checkpoint.

        Returns where the records are now (`superseded/`), None if there were none: nothing
        measured is ever deleted.
        """
        try:
            self.checkpoint_path(trial).unlink(missing_ok=True)
        except OSError as error:
            raise explained(error, self.path) from error
        attempts = sorted(self.trials.glob(f"*--{trial.id}--attempt*.jsonl"))
        aside = [self.set_file_aside(path) for path in (self.trial_path(trial), *attempts)]
        return aside[0]

    def set_file_aside(self, path: Path) -> Path | None:
        """Do the same for a file of `trials/`, for any trial."""
        try:
            if not path.exists():
                return None
            aside = self.path / "superseded"
            aside.mkdir(exist_ok=True)
            number = 1
            while has_record(goal := aside / f"{path.stem}--{number}.jsonl"):
                number += 1
            path.rename(goal)
            sync_folder(self.trials)
            return goal
        except OSError as error:
            raise explained(error, self.path) from error

    def write_plan(self, plan: Plan) -> None:
        content = asdict(plan)
        for row in content["rows"]:
            if row["seeds"] is None:
                del row["seeds"]
        write_whole(self.path / "plan.json", to_line({"format": FORMAT, **content}, indent=2))

    def read_plan(self) -> Plan | None:
        """Return the plan, None if there is none. Raises `OptbenchError` if it is damaged or written by a newer optbench."""
        path = self.path / "plan.json"
        try:
            content = from_json(read_stored_plan(self.path, _MAX_PLAN_BYTES))
            check_format(content, str(path))
            check_plan(content)
            return Plan(
                suite=content["suite"],
                rows=tuple(
                    Row(row["config_id"], row["trial"], tuple(row["seeds"]) if "seeds" in row else None)
                    for row in content["rows"]
                ),
                seeds=tuple(content["seeds"]),
                resolved=content["resolved"],
                command=content.get("command", ""),
                provenance=content.get("provenance", {}),
                metrics=_metrics(content),
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OptbenchError(f"cannot read: {error.strerror}", file=str(path)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, Corrupt) else "not a plan that optbench wrote"
            raise OptbenchError(
                f"damaged ({reason}), so rows and seeds are taken from the records: `optbench run` writes it again",
                file=str(path),
            ) from error

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the folder, such as `report.md`, atomically."""
        write_whole(self.path / name, text)
        return self.path / name
