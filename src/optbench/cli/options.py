"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optbench.cli import completion

Suites = Annotated[
    list[str],
    typer.Argument(
        metavar="SUITE...",
        help="A suite file, a folder of suites, or the name of a shipped suite or folder.",
        autocompletion=completion.suites,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of the suite, for example workload.budget.epochs=1. Repeatable.",
        autocompletion=completion.keys,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="LABEL",
        help="Run only this optimizer entry. Repeatable.",
        autocompletion=completion.labels,
    ),
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", min=1, metavar="N", help="Use seeds 0 to N-1 instead of the suite's.")
]
ResultsRoot = Annotated[
    Path,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Parent folder of the suites' results.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data folder. Default: $OPTBENCH_DATA, or the user cache folder.",
    ),
]
AllSeeds = Annotated[
    bool,
    typer.Option(
        "--all-seeds",
        help="Include results of seeds that are stored but not in the current plan, for example from earlier runs.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:N or mps.",
        autocompletion=completion.devices,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="PATH",
        help="Write to this file. Its suffix selects the format, unless --format is given.",
    ),
]
TextFormat = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"{completion.alternatives(completion.format_names())}.",
        autocompletion=completion.formats,
    ),
]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"{completion.alternatives(completion.format_names())}. Default: the suffix of --output, otherwise terminal.",
        autocompletion=completion.formats,
    ),
]
ModelTask = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="Task of the model, for example regression. Default: that of the model; classification for models of other packages.",
        autocompletion=completion.catalog("tasks"),
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="C,H,W",
        help="Shape of one input; one number for the context of text. Default: usual for the task; 3,224,224 for torchvision models.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        min=1,
        metavar="N",
        help="Number of classes, tokens or predicted values. Default: usual for the task; 1000 for torchvision models.",
    ),
]
