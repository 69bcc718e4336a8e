"""Import optimizer classes and take steps with them on small tensors, for `optbench check`, in a separate process.

    python -m optbench.verify.step_check < jobs.json

Reads a JSON list of jobs and writes one line of JSON per job. A job has `use`, `arguments`, `folder`, `closure`, `create_graph`,
`scheduled` (whether the entry has a schedule), `steps` (whether to take steps), `groups` (whether to build a class whose groups may need
a flag) and `sparse` (whether it gets sparse gradients). A result has `error` (empty if the class can be used), `file` and `line` of the
error, and `notes`. What the classes print is dropped.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from optbench.catalog import lookup
from optbench.catalog.rate_notes import matrices_only
from optbench.engine.group_flags import flags_of
from optbench.errors import OptbenchError
from optbench.verify.checks_training import schedule
from optbench.verify.plugin import load_plugin
from optbench.verify.toy_problem import MATRICES, CheckFailed, Plugin, advance, format_error

_CPU = torch.device("cpu")
_STEPS = 3


def result_of(job: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a job. Exceptions of the class are results."""
    result: dict[str, Any] = {"error": "", "file": "", "line": None, "notes": []}
    use, folder = job["use"], Path(job["folder"])
    try:
        if not job["steps"] and not job["sparse"]:
            factory = lookup.load(lookup.resolve("optimizers", use, folder))
            if job["groups"] and flags_of(factory):
                with suppress(Exception, SystemExit):  # it may require a GPU
                    result["error"] = _load(job).missing_groups
            return result
        plugin = _load(job)
        if job["steps"] or job["groups"]:
            result["error"] = plugin.missing_groups or plugin.missing_setting
        if result["error"]:
            return result
        if job["sparse"] and (reason := _sparse_step_error(plugin)):
            result["error"] = (
                f"does not accept the sparse gradients of the model's embeddings: a step raises {reason}; "
                f"expected {_accepted(job)}, or embeddings with `sparse: false`"
            )
        elif job["steps"]:
            result["notes"] = list(_notes(plugin, scheduled=job["scheduled"]))
    except OptbenchError as error:
        problem = error.problems[0]
        message = problem.message.removeprefix("cannot be checked: ")
        result |= {"error": message, "file": problem.file, "line": problem.line}
    except (Exception, SystemExit) as error:
        result["error"] = format_error(error)
    return result


def _load(job: dict[str, Any]) -> Plugin:
    return load_plugin(
        job["use"], job["arguments"], _CPU, Path(job["folder"]), job["closure"], job["create_graph"]
    )


def _notes(plugin: Plugin, *, scheduled: bool) -> Iterator[str]:
    if plugin.sparse:
        yield "accepts sparse gradients only, those of embeddings with `sparse: true`"
    elif reason := _step_error(plugin):
        if plugin.shapes != MATRICES and not _step_error(matrices := plugin.with_shapes(MATRICES)):
            plugin = matrices
        else:
            yield f"a step on small tensors raises {reason}"
            return
    if plugin.shapes == MATRICES and not plugin.sparse:
        yield matrices_only(plugin.name)
    if scheduled:
        try:
            schedule(plugin)
        except CheckFailed as fault:
            yield str(fault)
        except Exception:  # steps raise nothing, so this is of the check: it does not apply to the class
            pass


def _accepted(job: dict[str, Any]) -> str:
    """Return what accepts sparse gradients: the class without its weight decay, or another class."""
    if job["arguments"].get("weight_decay"):
        arguments = job["arguments"] | {"weight_decay": 0.0}
        if not _sparse_step_error(_load(job | {"arguments": arguments})):
            return "`weight_decay: 0`, `no_weight_decay: embeddings`"
    return "another class, such as torch.optim.SparseAdam for `parameters: embeddings`"


def _sparse_step_error(plugin: Plugin) -> str:
    return _step_error(replace(plugin, sparse=True, shapes=MATRICES))


def _step_error(plugin: Plugin) -> str:
    """Return what a few steps raise; empty if nothing."""
    try:
        model = plugin.toy_model()
        advance(plugin, model, plugin.build(model), range(_STEPS))
    except (Exception, SystemExit) as error:
        return format_error(error)
    return ""


def main() -> None:
    results = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    torch.set_num_threads(1)
    for job in json.load(sys.stdin):
        print(json.dumps(result_of(job)), file=results, flush=True)


if __name__ == "__main__":
    main()
