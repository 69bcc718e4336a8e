"""Estimate the memory needed to train a model, without training it.

Reports parameters, gradients, activations and optimizer state for several optimizers. No GPU is needed.

Examples:
  optbench memory resnet20
  optbench memory torchvision.models.resnet50 --batch-size 256 --precision bf16
  optbench memory 'mlp(hidden=[512])' --shape 1,28,28 --optimizer adamw --optimizer 'sgd(momentum=0.9)'
  optbench memory 'gpt(depth=12, heads=12, dim=768)' --shape 1024 --classes 50257 --batch-size 8 --precision bf16
  optbench memory torchvision.models.resnet50 --devices 8 --sharding full --optimizer adamw
  optbench memory digits --format csv

Exit codes:
  0  estimated for all optimizers
  1  at least one optimizer cannot train this model
  2  bad input
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from optbench.catalog.check import problems
from optbench.catalog.check_workload import data_findings
from optbench.catalog.data_root import data_root
from optbench.catalog.data_sets import task_of
from optbench.catalog.lookup import items
from optbench.catalog.task_defaults import complete, example_info
from optbench.catalog.types import DataInfo
from optbench.cli import completion
from optbench.cli.named_trials import WorkloadSettings, named_trials, parse_shape
from optbench.cli.options import Classes, Data, InputShape, ModelTask, Set, TextFormat, argument, flag, option
from optbench.cli.printing import print_format
from optbench.errors import OptbenchError, Problem
from optbench.forecasts import Forecast
from optbench.report import check_format
from optbench.report.document import Report
from optbench.report.memory import memory_block, memory_report
from optbench.suite.find import find, shipped
from optbench.suite.load import Loaded, load
from optbench.suite.plan import plan
from optbench.suite.types import Trial, Workload

PLACE = "Look up", 2


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command."""

    model: Annotated[
        str,
        argument(
            "MODEL",
            "A model, for example resnet20 or 'mlp(hidden=[512])', or a suite, for its model and optimizers.",
            complete=completion.models_and_suites,
        ),
    ]
    optimizer: Annotated[
        list[str] | None,
        option(
            "NAME",
            "An optimizer, for example adamw or 'torch.optim.SGD(momentum=0.9)'. Repeatable. "
            "Default: ten common ones, or those that accept sparse gradients.",
            complete=completion.catalog("optimizers"),
        ),
    ] = None
    batch_size: Annotated[
        int | None, option("N", "Batch size. Default: the suite's, or 32 for a model.", min=1)
    ] = None
    task: ModelTask = None
    shape: InputShape = None
    classes: Classes = None
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        option(
            "PRECISION",
            "fp32 or bf16. Default: the suite's (auto means bf16, as on a GPU), or fp32 for a model.",
        ),
    ] = None
    implementation: Annotated[
        Literal["default", "forloop", "foreach", "fused"] | None,
        option(
            "NAME",
            "Implementation of step(): default, forloop, foreach or fused. default is torch's choice on a GPU, usually foreach.",
        ),
    ] = None
    steps: Annotated[
        int, option("N", "Minimum number of steps, for optimizers that allocate state late.", min=1)
    ] = 3
    devices: Annotated[
        int | None,
        option(
            "N", "Devices that train together; sizes are those of one. Default: the suite's, or 1.", min=1
        ),
    ] = None
    sharding: Annotated[
        Literal["none", "zero1", "full"] | None,
        option("NAME", "What is divided among the devices: none, zero1 (optimizer state) or full (FSDP)."),
    ] = None
    sets: Set = None
    data: Data = None
    format: TextFormat = "terminal"
    check: Annotated[
        bool, flag("--check", "Compare the estimate with the measured peak. Needs an NVIDIA GPU.")
    ] = False


def memory(options: Options) -> None:
    raise typer.Exit(print_forecasts(options))


#: label -> value of `--optimizer`
COMMON = {
    "SGD": "sgd",
    "SGD + momentum": "sgd(momentum=0.9)",
    "Adam": "adam",
    "AdamW": "adamw",
    "AdamW amsgrad": "adamw(amsgrad=True)",
    "NAdam": "nadam",
    "RMSprop": "rmsprop",
    "RMSprop centered + momentum": "rmsprop(centered=True, momentum=0.9)",
    "Adagrad": "adagrad",
    "Adafactor": "adafactor",
}


@dataclass(frozen=True)
class Job:
    """One workload with its rows."""

    heading: str
    trials: tuple[Trial, ...]
    info: DataInfo


def print_forecasts(options: Options) -> int:
    """Print the table. Returns the exit code: 1 if an optimizer can't step on the model."""
    check_format(options.format)
    # Before anything imports torch: its profiler would remark on memory that it did not see allocated.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    jobs = _of_suite(options) if _is_suite(options.model) else [_of_model(options)]
    rows = [_forecasts(job, options) for job in jobs]
    report = _report(options.model, jobs, rows)
    print_format(report, options.format)
    return int(any(row.optimizer.problem for forecasts in rows for row in forecasts))


def _is_suite(text: str) -> bool:
    return text.endswith((".yaml", ".yml")) or (text in shipped() and text not in items("models"))


def _of_model(options: Options) -> Job:
    settings = WorkloadSettings(
        options.task,
        options.shape,
        options.classes,
        options.batch_size or 32,
        options.precision or "fp32",
        options.implementation or "default",
        options.sets or (),
    )
    hint = " (or a suite file, or the name of a shipped suite)"
    named = named_trials(options.model, options.optimizer or (), COMMON, settings, hint)
    return Job("", named.trials, named.info)


def _of_suite(options: Options) -> list[Job]:
    for name, value, what in (
        ("--optimizer", options.optimizer, "optimizers"),
        ("--task", options.task, "task"),
    ):
        if value:
            raise OptbenchError(f"not allowed with a suite, which defines its own {what}", where=name)
    loaded = load(find(options.model), options.sets or (), seeds=1, complete=complete)
    root = data_root(options.data)
    _refuse_problems(loaded, root, data_needed=not (options.shape and options.classes))
    changed: dict[str, Any] = {
        "precision": options.precision or loaded.suite.precision,
        "implementation": options.implementation or loaded.suite.implementation,
    }
    trials = [trial.model_copy(update=changed) for trial in _one_per_entry(plan(loaded))]
    if options.batch_size:
        trials = [_with_batch(trial, options.batch_size) for trial in trials]
    jobs = []
    firsts = {trial.workload_name: trial.workload for trial in reversed(trials)}
    for name, workload in firsts.items():
        info = _data_facts(workload, loaded, root, options)
        trials = [_counted(trial, workload, loaded, root) for trial in trials]
        heading = name if len(firsts) > 1 else ""
        jobs.append(Job(heading, tuple(t for t in trials if t.workload_name == name), info))
    return jobs


def _one_per_entry(trials: Sequence[Trial]) -> Iterator[Trial]:
    """Yield the trials, of tuning studies the first one of each entry: their settings differ, their memory hardly does."""
    tuned = set()
    for trial in trials:
        key = (trial.workload_name, trial.label)
        if trial.study is None or key not in tuned:
            yield trial
        tuned |= {key} if trial.study is not None else set()


def _refuse_problems(loaded: Loaded, root: Path, *, data_needed: bool) -> None:
    import torch  # noqa: F401  the forecast needs it: models are then built in this process

    found = problems(loaded, root)
    of_data = [problem for problem in found if ".data" in problem.where]
    if not data_needed:
        found = [problem for problem in found if problem not in of_data]
    elif of_data:
        found.append(Problem("to estimate without the data set, pass both --shape and --classes"))
    if found:
        raise OptbenchError(*found)


def _data_facts(workload: Workload, loaded: Loaded, root: Path, options: Options) -> DataInfo:
    """Return the description of the workload's data, with `--shape` and `--classes` in place of its own."""
    shape, classes = parse_shape(options.shape), options.classes
    if shape is not None and classes is not None:
        return example_info(task_of(workload.data, loaded.folder), 0, shape, classes)
    _, info = data_findings(workload.data, loaded.folder, root, ())
    if info is None:
        raise OptbenchError(
            f"the data set '{workload.data.name}' does not declare its shape and classes; pass both",
            where="--shape and --classes",
        )
    return replace(info, shape=shape or info.shape, classes=classes or info.classes)


def _counted(trial: Trial, workload: Workload, loaded: Loaded, root: Path) -> Trial:
    """Return the trial with the number of samples in place of a full batch."""
    if trial.batch_size != "full" or trial.workload.data != workload.data:
        return trial
    _, info = data_findings(workload.data, loaded.folder, root, ())
    if info is None:
        message = (
            f"the data set '{workload.data.name}' does not declare its number of samples, which a full batch "
            "requires; pass the number"
        )
        raise OptbenchError(message, where="--batch-size")
    return _with_batch(trial, info.train)


def _with_batch(trial: Trial, batch_size: int) -> Trial:
    return trial.model_copy(
        update={
            "workload": trial.workload.model_copy(update={"batch_size": batch_size}),
            "entry": trial.entry.model_copy(update={"batch_size": None}),
        }
    )


def _forecasts(job: Job, options: Options) -> list[Forecast]:
    from optbench.engine import memory_forecast, memory_forecast_check

    device = memory_forecast.gpu() if options.check else None
    if options.check and device is None:
        raise OptbenchError("requires an NVIDIA GPU; none was found", where="--check")
    trials = [_on_devices(trial, options) for trial in job.trials]
    if device is not None and trials[0].workload.world_size > 1:
        raise OptbenchError("measures on one GPU: expected one device per trial", where="--check")
    rows = memory_forecast.forecast(trials, job.info, options.steps)
    if device is not None:
        rows = memory_forecast_check.with_measured(rows, job.trials, job.info, device)
    return rows


def _on_devices(trial: Trial, options: Options) -> Trial:
    """Return the trial with `--devices` and `--sharding` in place of its own. Raises `OptbenchError` if they do not fit."""
    workload = trial.workload.model_copy(
        update={
            "devices": options.devices or trial.workload.world_size,
            "nodes": 1,
            "sharding": options.sharding or trial.workload.sharding,
        }
    )
    if workload.devices == 1 and workload.sharding != "none":
        raise OptbenchError("requires --devices above 1: there is nothing to divide", where="--sharding")
    return trial.model_copy(update={"workload": workload})


def _report(model: str, jobs: Sequence[Job], rows: Sequence[Sequence[Forecast]]) -> Report:
    blocks = []
    for job, forecasts in zip(jobs, rows, strict=True):
        info = job.info
        size = f" x {'x'.join(map(str, info.shape))}" if info.shape else ""
        classes = f", {info.classes} classes" if info.task == "classification" else f", task {info.task}"
        name = job.trials[0].workload.model.name
        batches = " or ".join(str(size) for size in dict.fromkeys(row.batch_size for row in forecasts))
        per = f" on each of {forecasts[0].devices} devices" if forecasts[0].devices > 1 else ""
        facts = f"{name}, batch of {batches}{size}{per}{classes}, {forecasts[0].precision}"
        blocks.append(memory_block(job.heading, facts, forecasts))
    return memory_report(f"Memory of training {model}", blocks)
