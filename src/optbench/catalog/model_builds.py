"""Builds of models without memory, to check that they fit their data. They need torch, which the process that checks does not load."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from optbench.catalog import lookup
from optbench.catalog.check_component import message_of
from optbench.catalog.model_facts import model_facts
from optbench.catalog.signatures import signature
from optbench.catalog.task_types import task_module
from optbench.catalog.types import DataInfo
from optbench.errors import OptbenchError, first_line
from optbench.suite.types import Component

#: torch's messages for operations that need the values of tensors, which tensors of the meta device do not have
_NEEDS_VALUES = re.compile(r"\bmeta (tensors?|device)\b|\bdevice meta\b|register_meta", re.IGNORECASE)
_SERVE = "from optbench.catalog.model_builds import serve; serve()"


class ModelBuilds:
    """A context in which models are built: in this process if it has loaded torch, otherwise in one child process for all of them."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ModelBuilds:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()

    def error(self, model: Component, folder: Path, info: DataInfo) -> str:
        """Return why the model cannot be built or does not fit the data, "" if it does.

        Models are not built where torch is not installed, as on a machine that only submits jobs.
        """
        if "torch" in sys.modules:
            return _build_error(model, folder, info)
        if self._child is None:
            self._child = _start()
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            pickle.dump((model, folder, info), child.stdin)
            child.stdin.flush()
            message: str = pickle.load(child.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.__exit__()
            self._child = None
            return f"building '{model.name}' ended the process that builds it"
        return message


def _start() -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )


def serve() -> None:
    """Build the models that standard input names, and write an answer for each to standard output."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # for what models print
    with contextlib.suppress(EOFError):
        while True:
            pickle.dump(_build_error(*pickle.load(requests)), answers)
            answers.flush()


def _build_error(model: Component, folder: Path, info: DataInfo) -> str:
    try:
        import torch
    except ImportError:
        return ""
    try:
        target = lookup.resolve("models", model.name, folder)
        item = lookup.load(target)
        names = signature(target).names
        facts = model_facts(info)
        given = {key: value for key, value in facts.items() if key in names}
        arguments = {key: value for key, value in model.arguments.items() if key != "weights"}  # no downloads
        with torch.device("meta"):
            built = getattr(item, "build", item)(**{**given, **arguments})
            if info.task not in ("classification", "custom"):
                return _outputs_problem(target, built, info)
    except OptbenchError as error:
        return "; ".join(message_of(problem) for problem in error.problems)
    except Exception as error:  # user code of a model may raise any exception
        return f"building '{model.name}' failed: {error or type(error).__name__}"
    return ""


def _outputs_problem(target: lookup.Target, model: Any, info: DataInfo) -> str:
    """Run the model on an example without data and return what is wrong with its outputs; "" if that cannot be found out."""
    task = task_module(info.task)
    inputs, _ = task.example(info, 2, _Meta())
    try:
        outputs = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    except Exception as error:
        reason = first_line(error)
        if _NEEDS_VALUES.search(reason):
            return ""  # the run checks it
        name, inputs_of = model.__class__.__name__, f"inputs of the task {info.task}"
        problem = lookup.raised(target, error, f"'{name}': a call with {inputs_of}")
        if isinstance(error, (TypeError, ValueError, RuntimeError)):
            problem = replace(problem, message=f"'{name}' does not accept the {inputs_of}: {reason}")
        return message_of(problem)
    if getattr(outputs, "loss", None) is not None:
        return ""
    return task.outputs_problem(getattr(outputs, "logits", outputs), 2, info)


class _Meta:
    """Example tensors on torch's meta device, the current default."""

    def numbers(self, *size: int) -> Any:
        import torch

        return torch.zeros(size)

    def integers(self, high: int, *size: int) -> Any:
        import torch

        return torch.zeros(size, dtype=torch.int64)
