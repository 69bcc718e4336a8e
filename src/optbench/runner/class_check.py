"""Check optimizer classes by importing them and taking a few steps, in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optbench.catalog import lookup
from optbench.catalog.check_optimizer import optimizer_findings
from optbench.catalog.optimizers import _packages as facts
from optbench.catalog.signatures import asks_for_sparse_gradients
from optbench.errors import OptbenchError, Problem
from optbench.suite.load import Loaded
from optbench.suite.plan import merged, representatives
from optbench.suite.types import Component, Optimizer, Rule

SECONDS = 120  # time limit of one class, from the import on


@dataclass(frozen=True)
class ClassFindings:
    """Classes that cannot be used, and notes on the others."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_classes(loaded: Loaded) -> ClassFindings:
    """Return what imports and steps of the suite's classes show. No process is started for classes of torch and dense gradients.

    Rules with other problems are skipped, so the suite may have some. Classes of measured packages are only imported, and built if
    their groups may need a flag: the catalog states their other needs. Steps are taken with a class that gets all
    parameters of the model, and with any class that gets sparse gradients.
    """
    jobs = list(_jobs(representatives(loaded)[0]))
    different = list({repr(job): job for _, _, job in jobs}.values())
    results = dict(zip(map(repr, different), _results(different), strict=True)) if jobs else {}
    found = ClassFindings()
    labels: dict[str, list[str]] = {}
    for label, position, job in jobs:
        result = results[repr(job)]
        if result["error"]:
            where = Path(result["file"]).name + (f", line {result['line']}" if result["line"] else "")
            message = f"{where}: {result['error']}" if result["file"] else result["error"]
            found.problems.append(loaded.problem_at(("optimizers", label, "rules", position, "use"), message))
        for note in result["notes"]:
            labels.setdefault(note, []).append(label)
    found.notes.extend(f"{', '.join(dict.fromkeys(of))}: {note}" for note, of in labels.items())
    return found


def _jobs(loaded: Loaded) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield label, position of the rule and job of each class that is outside of torch or gets sparse gradients."""
    models = [w.model for cell in loaded.cells for w in cell.loaded.suite.workloads.values()]
    has_sparse = any(_is_sparse(model, loaded.folder) for model in models)
    for label, entry in loaded.suite.optimizers.items():
        filled = merged(loaded.suite, entry)
        for position, rule in enumerate(entry.rules):
            if next(optimizer_findings(rule.use, rule.arguments, loaded.folder, ("arguments",)), None):
                continue  # already reported
            target = lookup.resolve("optimizers", rule.use, loaded.folder)
            is_of_torch = target.module.partition(".")[0] in ("torch", "optbench")
            is_sparse = has_sparse and _takes_embeddings(entry.rules, position)
            if is_sparse or not is_of_torch:
                yield label, position, _job(rule, filled, loaded, is_sparse=is_sparse)


def _is_sparse(model: Component, folder: Path) -> bool:
    try:
        return asks_for_sparse_gradients(model, folder)
    except OptbenchError:  # already reported
        return False


def _takes_embeddings(rules: Sequence[Rule], position: int) -> bool:
    """Return whether a rule certainly gets the embeddings of a model that has some: globs over names before it may get them."""
    return rules[position].parameters in ("all", "rest", "embeddings") and all(
        rule.parameters in ("matrices", "convolutions", "vectors") for rule in rules[:position]
    )


def _job(rule: Rule, entry: Optimizer, loaded: Loaded, *, is_sparse: bool) -> dict[str, Any]:
    arguments = dict(rule.arguments)
    if is_sparse and "embeddings" in (entry.no_weight_decay or ()) and "weight_decay" in arguments:
        arguments["weight_decay"] = 0.0
    is_measured = rule.use.partition(".")[0] in facts.MEASURED and not rule.use.endswith(".py")
    is_whole = rule.parameters == "all" and not rule.groups
    return {
        "use": rule.use,
        "arguments": arguments,
        "folder": str(loaded.folder),
        "closure": entry.closure,
        "create_graph": entry.create_graph,
        "scheduled": entry.schedule is not None and entry.schedule.name != "constant",
        "sparse": is_sparse,
        "steps": not is_measured and is_whole,
        "groups": is_measured and is_whole,
    }


def _results(jobs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the result of each job. A class that ends its process or does not finish gets an error; the others run in a new process."""
    done = 0
    while done < len(jobs):
        for line in _lines(jobs[done:]):
            yield line
            done += 1
            if line["error"] and line.get("ended"):
                break


def _lines(jobs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "optbench.verify.step_check"]
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}  # compiling a step can take minutes
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(jobs))
            process.stdin.close()
        except BrokenPipeError:  # the reason follows: the process has ended
            pass
        for _ in jobs:
            late = threading.Event()
            timer = threading.Timer(SECONDS, _give_up, (process, late))
            timer.start()
            line = process.stdout.readline()
            timer.cancel()
            if not line.endswith("\n"):
                reason = (
                    f"not finished after {SECONDS} s of importing it and taking steps"
                    if late.is_set()
                    else f"importing it or taking steps ended the process with exit code {process.wait()}"
                )
                yield {"error": reason, "file": "", "line": None, "notes": [], "ended": True}
                return
            yield json.loads(line)
        process.kill()


def _give_up(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    process.kill()
