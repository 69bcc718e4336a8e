"""Definition of arguments and options, and those that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from optbench.cli import completion


def argument(metavar: str, help: str, complete: completion.Completer | None = None, **settings: Any) -> Any:
    """Define an argument. `complete` returns its completions for the shell."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=complete, **settings)


def option(
    metavar: str, help: str, name: str = "", complete: completion.Completer | None = None, **settings: Any
) -> Any:
    """Define an option with a value. Its default name is that of the parameter."""
    names = (name,) if name else ()
    return typer.Option(*names, metavar=metavar, help=help, autocompletion=complete, **settings)


def flag(name: str, help: str) -> Any:
    """Define an option without a value."""
    return typer.Option(name, help=help)


Suites = Annotated[
    list[str],
    argument(
        "SUITE...",
        "A suite file, a folder of suites, or the name of a shipped suite or folder.",
        complete=completion.suites,
    ),
]
Set = Annotated[
    list[str] | None,
    option(
        "KEY=VALUE",
        "Override a value of the suite, for example workload.budget.epochs=1. Repeatable.",
        "--set",
        complete=completion.keys,
    ),
]
Only = Annotated[
    list[str] | None,
    option("LABEL", "Run only this optimizer entry. Repeatable.", "--only", complete=completion.labels),
]
Seeds = Annotated[int | None, option("N", "Use seeds 0 to N-1 instead of the suite's.", "--seeds", min=1)]
ResultsRoot = Annotated[Path, option("DIR", "Parent folder of the suites' results.", "--results")]
Data = Annotated[
    str | None, option("DIR", "Data folder. Default: $OPTBENCH_DATA, or the user cache folder.", "--data")
]
AllSeeds = Annotated[
    bool,
    flag(
        "--all-seeds",
        "Include results of seeds that are stored but not in the current plan, for example from earlier runs.",
    ),
]
Device = Annotated[
    str, option("DEVICE", "auto, cpu, cuda, cuda:N or mps.", "--device", complete=completion.devices)
]
Output = Annotated[
    Path | None,
    option(
        "PATH", "Write to this file. Its suffix selects the format, unless --format is given.", "--output"
    ),
]
TextFormat = Annotated[
    str,
    option(
        "FORMAT",
        f"{completion.alternatives(completion.format_names())}.",
        "--format",
        complete=completion.formats,
    ),
]
OutputFormat = Annotated[
    str | None,
    option(
        "FORMAT",
        f"{completion.alternatives(completion.format_names())}. Default: the suffix of --output, otherwise terminal.",
        "--format",
        complete=completion.formats,
    ),
]
ModelTask = Annotated[
    str | None,
    option(
        "TASK",
        "Task of the model, for example regression. Default: that of the model; classification for models of other packages.",
        "--task",
        complete=completion.catalog("tasks"),
    ),
]
InputShape = Annotated[
    str | None,
    option(
        "C,H,W",
        "Shape of one input; one number for the context of text. Default: usual for the task; 3,224,224 for torchvision models.",
        "--shape",
    ),
]
Classes = Annotated[
    int | None,
    option(
        "N",
        "Number of classes, tokens or predicted values. Default: usual for the task; 1000 for torchvision models.",
        "--classes",
        min=1,
    ),
]
