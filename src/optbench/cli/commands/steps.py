"""Measure the time of `step()` and compare it with its memory traffic.

Each optimizer is measured on the model's parameters with each available implementation, in interleaved rounds. The
floor is the time of one pass over memory that moves as many bytes as the update reads and writes.

Examples:
  optbench steps
  optbench steps resnet20 --optimizer adam --optimizer rmsprop --threads 1
  optbench steps 'gpt(depth=6, dim=384)' --classes 50257 --optimizer adamw
  optbench steps --implementation fused --implementation compiled --save steps

Exit codes:
  0    all optimizers were measured
  1    at least one optimizer could not be measured; its rows state the reason
  2    bad input
  130  stopped with Ctrl-C
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optbench.catalog.data_root import data_root
from optbench.cli import completion
from optbench.cli.named_trials import WorkloadSettings, named_trials
from optbench.cli.options import Classes, Data, Device, InputShape, ModelTask, TextFormat, argument, option
from optbench.cli.printing import print_format, refuse_file_name
from optbench.report import check_format, render_report
from optbench.report.steps import save_figure, steps_report
from optbench.store.files import make_folder, write_whole

PLACE = "Look up", 3


class MeasuredImplementation(StrEnum):
    """Implementations of `step()` that can be measured."""

    forloop = "forloop"
    foreach = "foreach"
    fused = "fused"
    compiled = "compiled"


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command."""

    model: Annotated[
        str,
        argument(
            "[MODEL]",
            "The model whose parameters are updated, for example resnet20 or 'mlp(hidden=[512])'.",
            complete=completion.catalog("models"),
        ),
    ] = "torchvision.models.resnet18"
    optimizer: Annotated[
        list[str] | None,
        option(
            "NAME",
            "An optimizer, for example adamw or 'sgd(momentum=0.9)'. Repeatable. "
            "Default: seven common ones, or those that accept sparse gradients.",
            complete=completion.catalog("optimizers"),
        ),
    ] = None
    implementation: Annotated[
        list[MeasuredImplementation] | None,
        option("NAME", "forloop, foreach, fused or compiled. Repeatable. Default: all."),
    ] = None
    rounds: Annotated[
        int, option("N", "Number of interleaved rounds. The median over rounds is reported.", min=1)
    ] = 9
    threads: Annotated[int | None, option("N", "CPU threads. Default: torch's choice.", min=1)] = None
    task: ModelTask = None
    shape: InputShape = None
    classes: Classes = None
    device: Device = "auto"
    data: Data = None
    format: TextFormat = "terminal"
    save: Annotated[Path | None, option("DIR", "Also write the tables and a figure to this folder.")] = None


def steps(options: Options) -> None:
    raise typer.Exit(measure_steps(options))


#: label -> value of `--optimizer`
COMMON = {
    "SGD": "sgd",
    "SGD + momentum": "sgd(momentum=0.9)",
    "Nesterov + decay": "sgd(momentum=0.9, nesterov=True, weight_decay=5e-4)",
    "Adam": "adam",
    "AdamW": "adamw",
    "Adagrad": "adagrad",
    "RMSprop": "rmsprop",
}
_SUFFIXES = {"markdown": ".md", "csv": ".csv", "json": ".json"}


def measure_steps(options: Options) -> int:
    """Print the table on standard output, progress on standard error. Returns the exit code: 1 if nothing could be measured of
    some optimizer. Raises `OptbenchError`."""
    check_format(options.format)
    settings = WorkloadSettings(options.task, options.shape, options.classes)
    named = named_trials(options.model, options.optimizer or (), COMMON, settings)
    if options.save is not None:
        refuse_file_name(options.save)
        make_folder(options.save)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from optbench.engine import step_times

    device = step_times.set_up(options.device, options.threads, data_root(options.data))
    asked = (
        tuple(dict.fromkeys(name.value for name in options.implementation or ()))
        or step_times.IMPLEMENTATIONS
    )
    try:
        times = step_times.step_times(
            named.trials,
            asked,
            named.info,
            device,
            options.rounds,
            on_progress=_show_progress,
        )
    finally:
        _show_progress("", 0, 0)
    times = replace(times, model=options.model)  # with its arguments, as typed
    report = steps_report(times)
    print_format(report, options.format)
    if options.save is not None:
        for name, suffix in _SUFFIXES.items():
            write_whole(options.save / f"steps{suffix}", render_report(report, name))
        save_figure(times, options.save)
    measured = {row.label for row in times.rows if not row.problem}
    return int(any(row.label not in measured for row in times.rows))


def _show_progress(text: str, done: int, of: int) -> None:
    """Print the progress on one line that is overwritten, in a terminal only; an empty text clears it."""
    if sys.stderr.isatty():
        counted = f"[{done + 1}/{of}] {text}" if text else ""
        sys.stderr.write(f"\r\033[K{counted[:78]}")
        sys.stderr.flush()
