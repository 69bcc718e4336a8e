"""Calibration: train the best of the tuned entries of each workload on further seeds, and derive the target from these runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from optbench.analysis.targets import CalibratedTarget, Reference, calibrated_target, references
from optbench.errors import OptbenchError
from optbench.store import Results
from optbench.store.files import write_whole
from optbench.suite.dump import dump, setting_text
from optbench.suite.load import Loaded, load
from optbench.suite.tuning import TUNING_SEED
from optbench.suite.yaml_edit import with_value


@dataclass(frozen=True)
class Calibration:
    """The target of one workload, with the runs that it is from."""

    reference: Reference
    target: CalibratedTarget
    budget: str
    seeds: tuple[int, ...]
    folder: Path

    @property
    def target_text(self) -> str:
        """The target as YAML text."""
        bound = "at_least" if self.reference.higher else "at_most"
        return f"{{metric: {self.reference.metric}, {bound}: {self.target.value:.6g}}}"

    def provenance(self, date: str, entries: list[str], trials: str) -> str:
        """Return one line about the origin of the target."""
        settings = ", ".join(f"{name}={setting_text(value)}" for name, value in self.reference.point.items())
        label = (
            f"{self.reference.label} ({settings})" if settings else f"{self.reference.label} (as configured)"
        )
        return (
            f"Calibrated {date}: median of the best validation {self.reference.metric} of {self.target.seeds} runs of {self.budget} "
            f"of {label}, seeds {self.seeds[0]} to {self.seeds[-1]}, the best of {', '.join(entries)}{trials}"
        )


def further_seeds(loaded: Loaded, count: int) -> tuple[int, ...]:
    """Return seeds that the suite does not use. Raises `OptbenchError` if they would reach those of tuning."""
    first = max(loaded.suite.seeds) + 1
    if first + count > TUNING_SEED:
        raise OptbenchError(loaded.problem("seeds", f"expected seeds below {TUNING_SEED - count}"))
    return tuple(range(first, first + count))


def check_calibration(loaded: Loaded, labels: tuple[str, ...]) -> None:
    """Raise `OptbenchError` for a suite whose targets cannot be calibrated."""
    if loaded.suite.axes:
        raise OptbenchError(
            loaded.problem(
                "axes", "a suite with axes has one workload per combination: calibrate them separately"
            )
        )
    for name, workload in loaded.suite.workloads.items():
        if workload.stop_at_target:
            message = "expected runs of the whole budget; found runs that stop at the present target"
            raise OptbenchError(loaded.problem(f"workloads.{name}.stop_at_target", message))
    tuned = [label for label, entry in loaded.suite.optimizers.items() if entry.is_tuned]
    if not any(label in tuned for label in labels or loaded.suite.optimizers):
        message = "expected at least one reference optimizer with a search space, as in lr: {log: [1e-4, 1e-1]}; found none"
        raise OptbenchError(loaded.problem("optimizers", message))


def reference_suites(
    loaded: Loaded, results: Results, labels: tuple[str, ...], seeds: tuple[int, ...]
) -> Iterator[tuple[Reference, Loaded]]:
    """Yield the best entry of each workload, and the suite that trains it with its selected settings on `seeds`.

    Raises `OptbenchError` for a workload without a complete entry.
    """
    found = {reference.workload: reference for reference in references(results, labels)}
    for name in loaded.suite.workloads:
        if name not in found:
            raise OptbenchError(
                f"no reference optimizer has complete trials on '{name}'", file=str(loaded.path)
            )
        yield found[name], _reference_suite(loaded, found[name], seeds)


def _reference_suite(loaded: Loaded, reference: Reference, seeds: tuple[int, ...]) -> Loaded:
    suite = loaded.suite
    entry = suite.optimizers[reference.label]
    changes = {
        "title": f"Reference runs for the target of {reference.workload}",
        "workloads": {reference.workload: suite.workloads[reference.workload]},
        "optimizers": {reference.label: entry.with_point(reference.point) if entry.is_tuned else entry},
        "seeds": seeds,
        "tuning": None,
        "sensitivity": {},
        "published": (),
        "horizons": (),
        "baseline": None,
    }
    one = suite.model_copy(update=changes)
    name = f"{loaded.name}-reference-{reference.workload}"
    return Loaded(one, loaded.folder / f"{_file_name(name)}.yaml", loaded.source)


def _file_name(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "_" for character in name)


def calibration(
    loaded: Loaded, reference: Reference, results: Results, seeds: tuple[int, ...], folder: Path
) -> Calibration:
    """Return the target of the reference runs. Raises `OptbenchError` if half of them diverged, or if some are missing."""
    target = calibrated_target(results, reference.metric, higher=reference.higher)
    if target is None:
        raise OptbenchError(
            f"no target for '{reference.workload}': half or more of the runs of {reference.label} diverged",
            file=str(folder),
        )
    if target.seeds < len(seeds):
        message = f"{target.seeds} of {len(seeds)} reference runs on '{reference.workload}' are complete: run the command again"
        raise OptbenchError(message, file=str(folder))
    budget = str(loaded.suite.workloads[reference.workload].budget)
    return Calibration(reference, target, budget, seeds, folder)


def written(text: str, loaded: Loaded, one: Calibration, comment: str) -> str:
    """Return the text of the suite file with the target of a workload."""
    name = one.reference.workload
    several = isinstance(loaded.source.data, dict) and "workloads" in loaded.source.data
    path = ("workloads", name) if several else ("workload",)
    return with_value(text, (*path, "target"), one.target_text, comment)


def write(loaded: Loaded, calibrations: list[Calibration], comment: Callable[[Calibration], str]) -> None:
    """Write the targets into the suite file. Nothing else changes: the result is loaded and compared before it replaces the file.

    Raises `OptbenchError` for a file that cannot be edited, such as one with aliases.
    """

    text = loaded.path.read_text(encoding="utf-8-sig")
    for one in calibrations:
        text = written(text, loaded, one, comment(one))
    beside = loaded.path.with_name(f".{loaded.path.stem}-calibrated.yaml")
    try:
        beside.write_text(text, encoding="utf-8")
        if _without_targets(load(beside)) != _without_targets(loaded):
            raise OptbenchError(
                "cannot be edited without other changes: insert the printed lines by hand",
                file=str(loaded.path),
            )
    finally:
        beside.unlink(missing_ok=True)
    write_whole(loaded.path, text)


def _without_targets(loaded: Loaded) -> dict[str, object]:
    content = dump(loaded.suite)
    for workload in content["workloads"].values():
        workload.pop("target", None)
    return content
