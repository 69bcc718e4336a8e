"""Write a first suite, from questions or options.

In a terminal, the command asks for values that were not given as options, the task first. The budget is computed from the
total time: training steps of the model are timed for about one second, and the steps that fit into 70 % of the time are
divided among the trials. The rest is for start-up and evaluation. If the model cannot be timed, 0.02 s per step is assumed,
and the file states this.

Examples:
  optbench new
  optbench new first.yaml --model small_cnn --data digits --optimizer sgd --optimizer adamw
  optbench new --model gpt --data text --optimizer adamw --optimizer 'sgd(lr=0.2)'
  optbench new --model 'mlp(hidden=[64])' --data digits --optimizer 'sgd(lr=0.1)' --optimizer adam --minutes 2 --seeds 3

Exit codes:
  0    written, and `optbench check` passes
  2    invalid input, missing options without a terminal, or the file exists
  130  stopped with Ctrl-C or Ctrl-D; nothing is written
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Annotated, TypeVar

from optbench.catalog import starter
from optbench.catalog.check import examine
from optbench.catalog.data_root import data_root
from optbench.catalog.starter import ASSUMED_STEP_SECONDS, Budget
from optbench.catalog.task_defaults import defaults, model_tasks, models_of, task_metric, task_starters
from optbench.catalog.types import DataInfo
from optbench.cli import answer_parsing, completion
from optbench.cli.options import argument, option
from optbench.errors import OptbenchError, Problem
from optbench.plurals import counted
from optbench.store.files import cause
from optbench.suite.call_notation import parse_call
from optbench.suite.types import Component, Duration, Workload

PLACE = "Compare optimizers", 1

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command."""

    file: Annotated[
        Path | None,
        argument("[FILE]", "Suite file to write. Default: named after the data, for example digits.yaml."),
    ] = None
    task: Annotated[
        str | None,
        option(
            "TASK",
            "For example classification, language or forecasting. Default: the task of the data.",
            complete=completion.catalog("tasks"),
        ),
    ] = None
    model: Annotated[
        str | None,
        option(
            "MODEL",
            "For example small_cnn, 'mlp(hidden=[64])', torchvision.models.resnet18 or my_model.py:Net.",
            complete=completion.catalog("models"),
        ),
    ] = None
    data: Annotated[
        str | None,
        option(
            "DATA",
            "For example digits, cifar10 or 'image_folder(path=\"pictures\")'.",
            complete=completion.catalog("data"),
        ),
    ] = None
    optimizer: Annotated[
        list[str] | None,
        option(
            "NAME",
            "For example adamw, 'sgd(lr=0.1)' or my_opt.py:Mine. Repeatable.",
            complete=completion.catalog("optimizers"),
        ),
    ] = None
    minutes: Annotated[float | None, option("N", "Total time of all trials. Default: 10.")] = None
    seeds: Annotated[int | None, option("N", "Seeds per entry. Default: 5.")] = None
    target: Annotated[
        float | None,
        option(
            "NUMBER",
            "Target of the first metric of the task; an accuracy is a fraction, for example 0.97. Default: usual for the data.",
        ),
    ] = None
    root: Annotated[
        str | None,
        option("DIR", "Data folder. Default: $OPTBENCH_DATA, or the user cache folder.", "--data-root"),
    ] = None


def new(options: Options) -> None:
    print(make(options, data_root(options.root), asks=sys.stdin.isatty()))


def make(given: Options, root: Path, *, asks: bool) -> str:
    """Write the suite and return a summary. Raises `OptbenchError` for invalid answers."""
    if not asks:
        _refuse_missing(given)
    folder = given.file.parent if given.file else Path()
    if given.file:
        _refuse_existing(given.file)
    task = _task(given, asks, folder)
    usual_names = task_starters().get(task, {"model": "", "data": ""})
    choices = ", ".join(models_of(task)) if asks else ""
    model = _answer(
        given.model,
        asks,
        "Model",
        usual_names["model"],
        lambda text: answer_parsing.component("models", text, folder),
        choices,
    )
    data, info = _answer(
        given.data,
        asks,
        "Data",
        usual_names["data"],
        lambda text: answer_parsing.dataset(text, model, folder, root, task),
    )
    file = given.file or Path(f"{re.sub(r'[^A-Za-z0-9_-]+', '_', Path(data.name).stem)}.yaml")
    if not given.file:
        _refuse_existing(file)
    usual = starter.starter_of(data, folder)
    typed = ", ".join(given.optimizer or ()) or None
    entries = _answer(
        typed,
        asks,
        "Optimizers",
        "sgd, adam, adamw, rmsprop",
        lambda text: answer_parsing.entries_of(text, folder),
    )
    quick = given.minutes is None and asks
    minutes = _answer(
        _text(given.minutes, 10, quick), asks, "Minutes for all trials", "10", answer_parsing.minutes
    )
    seeds = _answer(
        _text(given.seeds, 5, given.seeds is None and asks), asks, "Seeds", "5", answer_parsing.seeds
    )
    metric, higher = task_metric(info.task)
    goal = None
    if given.target is not None or "target" in usual:
        asked = given.target is None and asks
        goal = _answer(
            _text(given.target, usual.get("target", 0), asked),
            asks,
            f"Target {metric}",
            f"{usual.get('target', 0):g}",
            answer_parsing.target if info.task == "classification" else answer_parsing.number,
        )

    batch = starter.batch_size(usual, info)
    trials, steps_an_epoch = len(entries) * seeds, -(-info.train // batch)
    pace, timed = _pace(model, data, info, batch, folder)
    length = starter.budget(minutes, trials, pace, steps_an_epoch, usual["most_epochs"])
    because = f"{counted(trials, 'trial')} of {counted(length.steps, 'step')} at {pace:.2g} s per step ({timed}): {_fits(length, minutes)}."
    target = None if goal is None else {"metric": metric, "at_least" if higher else "at_most": goal}
    answers = starter.Answers(model, data, info, entries, seeds, target, usual)
    text = starter.compose(answers, length, because, str(file))
    _write(file, text, root)
    return (
        f"{file}: {counted(len(entries), 'optimizer')}, {counted(seeds, 'seed')}, {length.text} each\n{because}\n"
        f"Next: optbench plan {file}, then optbench run {file}"
    )


def _task(given: Options, asks: bool, folder: Path) -> str:
    """Return the task of the option, of the data or of the answer; the data's are checked when they are read."""
    offered = task_starters()
    if given.task is None and given.data is not None:
        return answer_parsing.task_of_data(given.data, folder)
    default = "classification"
    if given.model is not None:
        with suppress(OptbenchError):  # reported with --model
            default = model_tasks(parse_call(given.model, "")[0], folder)[0]
    return _answer(
        given.task,
        asks,
        "Task",
        default if default in offered else "classification",
        lambda text: answer_parsing.task(text, offered),
        ", ".join(offered),
    )


def _answer(
    told: str | None, asks: bool, question: str, default: str, read: Callable[[str], T], choices: str = ""
) -> T:
    """Return the value of an option, or ask until the answer is valid; `choices` are printed before the question."""
    if told is not None or not asks:
        try:
            return read(told if told is not None else default)
        except OptbenchError as error:
            place = {
                "Minutes for all trials": "--minutes",
                "Optimizers": "--optimizer",
            }
            where = (
                "--target" if question.startswith("Target ") else place.get(question, f"--{question.lower()}")
            )
            raise OptbenchError(*(Problem(p.message, where) for p in error.problems)) from error
    if choices:
        print(fill(f"{question}: {choices}", get_terminal_size().columns, subsequent_indent="  "))
    while True:
        try:
            line = input(f"{question} [{default}]: ").strip()
        except EOFError:
            print()
            raise KeyboardInterrupt from None
        try:
            return read(line or default)
        except OptbenchError as error:
            for problem in error.problems:
                print(
                    fill(
                        problem.message,
                        get_terminal_size().columns,
                        initial_indent="  ",
                        subsequent_indent="  ",
                    )
                )


def _fits(length: Budget, minutes: float) -> str:
    span = f"{minutes:g} minute{'s' * (minutes != 1)}"
    if length.floored:
        return f"longer than {span}, because fewer steps are too few to compare optimizers"
    return f"shorter than {span}" if length.capped else f"planned for {span}"


def _text(told: float | None, default: float, asks: bool) -> str | None:
    """Return the value of an option as text; None if the user is asked for it."""
    return None if asks else f"{default if told is None else told}"


def _refuse_missing(given: Options) -> None:
    flags = {"--model": given.model, "--data": given.data, "--optimizer": given.optimizer}
    if missing := [flag for flag, value in flags.items() if not value]:
        raise OptbenchError(f"missing {', '.join(missing)}: required when standard input is not a terminal")


def _refuse_existing(file: Path) -> None:
    if file.suffix not in (".yaml", ".yml"):
        raise OptbenchError("expected a file name that ends with .yaml or .yml", file=str(file))
    if file.exists() or file.is_symlink():
        raise OptbenchError("the file exists and is not overwritten; choose another FILE", file=str(file))
    if not file.parent.is_dir():
        raise OptbenchError("no such folder", file=str(file.parent))


def _pace(model: Component, data: Component, info: DataInfo, batch: int, folder: Path) -> tuple[float, str]:
    """Return the seconds per step, and how they were determined."""
    from optbench.engine.step_time_estimate import step_seconds

    try:
        loss, metrics = defaults(info.task)
        workload = Workload(
            model=model,
            data=data,
            batch_size=batch,
            budget=Duration(value=1, unit="steps"),
            loss=Component(name=loss),
            metrics=metrics,
        )
        return step_seconds(workload, info, batch, folder), "timed on this machine"
    except Exception:  # the user's model may raise any exception, and may need more memory than there is
        return ASSUMED_STEP_SECONDS, "assumed: the model could not be timed"


def _write(file: Path, text: str, root: Path) -> None:
    """Write the file and check it; delete it if the check fails. Never overwrites a file."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise OptbenchError(f"cannot write the file: {cause(error)}", file=str(file)) from None
    problems: Sequence[Problem] = ()
    try:
        problems = examine(file, (), None, root)[1]
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    if problems:
        file.unlink(missing_ok=True)
        raise OptbenchError(*problems)
