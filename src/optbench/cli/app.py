"""Every command and its options."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optbench import __version__
from optbench.cli import importing, verify

app = typer.Typer(
    name="optbench",
    help="Which optimizer, on this workload, and how sure are we? Compare optimizers from one YAML file.",
    epilog="Start with: optbench run digits",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Suites = Annotated[
    list[str], typer.Argument(metavar="SUITE...", help="A suite file, or the name of a shipped suite.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a value of the suite, as in workload.budget.epochs=1."
    ),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="LABEL", help="Run only this optimizer entry.")
]
Seeds = Annotated[
    int | None, typer.Option("--seeds", min=1, metavar="N", help="Seeds 0 to N-1, whatever the suite says.")
]
ResultsRoot = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Parent folder of the suites' results.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="DIR", help="Data root; default $OPTBENCH_DATA, else the platform's cache folder."
    ),
]
ResultPaths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[RESULTS]...", help="A results root or a suite's folder in it; default ./results."
    ),
]


class TableFormat(StrEnum):
    """What `records` can write."""

    csv = "csv"
    json = "json"


class Kind(StrEnum):
    """What `list` can list."""

    models = "models"
    data = "data"
    optimizers = "optimizers"
    schedules = "schedules"
    metrics = "metrics"
    losses = "losses"
    initialisations = "initialisations"
    suites = "suites"


class ForecastPrecision(StrEnum):
    """What `memory` can follow."""

    fp32 = "fp32"
    bf16 = "bf16"


class StepImplementation(StrEnum):
    """A suite's `implementation`."""

    default = "default"
    forloop = "forloop"
    foreach = "foreach"
    fused = "fused"


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"optbench {__version__}")
        raise typer.Exit


@app.command()
def run(
    suites: Suites,
    sets: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: ResultsRoot = Path("results"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of a trial; default: torch's own choice.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Trials of a sweep at once; default: one a core, on a GPU one."
        ),
    ] = None,
    data: Data = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set earlier results of these trials aside and run them anew.")
    ] = False,
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="Go on though earlier trials ran on another device or version."),
    ] = False,
    stall_timeout: Annotated[
        float,
        typer.Option(
            "--stall-timeout",
            min=1,
            metavar="SECONDS",
            help="A trial without a sign of life for so long is taken to hang, and ended.",
        ),
    ] = 1800,
    json: Annotated[
        bool, typer.Option("--json", help="Print one event a line as JSON, and no table.")
    ] = False,
) -> None:
    """Run a suite's trials, or go on with them, and print the comparison.

    A second run continues: finished trials are skipped, unfinished ones go on from their checkpoint. Exit code 0: all trials
    ran; 1: some trial failed; 2: bad input; 130: stopped with Ctrl-C.
    """
    from optbench.cli.run import Options, run_suites

    options = Options(
        overrides=tuple(sets or ()),
        only=tuple(only or ()),
        seeds=seeds,
        results=results,
        device=device,
        threads=threads,
        data=data,
        fresh=fresh,
        allow_mixed=allow_mixed,
        json=json,
        stall_seconds=stall_timeout,
        jobs=jobs,
    )
    raise typer.Exit(run_suites(suites, options, dry_run=dry_run))


@app.command()
def plan(
    suites: Suites,
    sets: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: ResultsRoot = Path("results"),
    data: Data = None,
    detect: Annotated[
        str | None,
        typer.Option(
            metavar="DELTA",
            help="Also say how many seeds would show this difference of the final metric, as in 0.5%.",
        ),
    ] = None,
) -> None:
    """Say which trials a suite makes, how many are done and how long the rest may take; the same as `run --dry-run`."""
    from optbench.cli.run import Options, run_suites

    options = Options(tuple(sets or ()), tuple(only or ()), seeds, results, data=data)
    raise typer.Exit(run_suites(suites, options, dry_run=True, detect=detect))


@app.command()
def check(suites: Suites, sets: Set = None, seeds: Seeds = None, data: Data = None) -> None:
    """Check suites and run nothing: every problem at once, with file, line and column. Exit code 2 if there is one."""
    from optbench.cli.run import checked

    for loaded in checked(suites, tuple(sets or ()), seeds, data):
        rows, workloads = len(loaded.suite.optimizers), len(loaded.suite.workloads) * len(loaded.cells)
        print(
            f"{loaded.path}: ok ({rows} optimizers, {workloads} workload{'s' * (workloads > 1)}, {len(loaded.suite.seeds)} seeds)"
        )


@app.command()
def report(
    paths: ResultPaths = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="terminal, markdown, csv or json; default: what --output ends with."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="PATH", help="Write to this file.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write every format into this folder.")
    ] = None,
    leaderboard: Annotated[
        bool,
        typer.Option(
            "--leaderboard",
            help="Only the score over all workloads, by the rules of the AlgoPerf competition.",
        ),
    ] = False,
) -> None:
    """Render the comparison tables of results; needs no torch and no GPU."""
    from optbench.cli import show

    show.report(paths or [Path("results")], format, output, save, leaderboard=leaderboard)


@app.command()
def records(
    paths: ResultPaths = None,
    format: Annotated[TableFormat, typer.Option("--format")] = TableFormat.csv,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="PATH", help="Write to this file.")
    ] = None,
    survival: Annotated[
        bool,
        typer.Option(
            "--survival",
            help="Instead: Kaplan-Meier curves of time to target with their 95 % bands, in every unit.",
        ),
    ] = False,
) -> None:
    """Every evaluation of every trial as one tidy table, for pandas or a spreadsheet."""
    from optbench.cli import show

    show.records(paths or [Path("results")], format.value, output, survival=survival)


@app.command()
def memory(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model, as in resnet20 or 'mlp(hidden=[512])'; or a suite, for its entries.",
        ),
    ],
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="An optimizer, as in adamw or 'torch.optim.SGD(momentum=0.9)'; default: ten common ones.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, metavar="N", help="Default 32; of a suite its own.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            metavar="C,H,W",
            help="Of one input; default 3,224,224 for torchvision's models, else 3,32,32.",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Default 1000 for torchvision's models, else 10."),
    ] = None,
    precision: Annotated[
        ForecastPrecision | None,
        typer.Option(help="Default fp32; of a suite its own, where auto is bf16 as on a GPU."),
    ] = None,
    implementation: Annotated[
        StepImplementation | None,
        typer.Option(help="Of the step; default: what torch takes on a GPU, mostly foreach."),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Take at least so many steps, for state that comes late.")
    ] = 3,
    sets: Set = None,
    data: Data = None,
    format: Annotated[str, typer.Option("--format", help="terminal, markdown, csv or json.")] = "terminal",
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the real allocator's peak; needs an NVIDIA GPU.")
    ] = False,
) -> None:
    """Forecast the memory of training a model with several optimizers, without training it and without a GPU.

    Exit code 0; 1: some optimizer can't step on this model; 2: bad input.
    """
    from optbench.cli.memory import Options
    from optbench.cli.memory import memory as forecast

    options = Options(
        optimizers=tuple(optimizer or ()),
        batch_size=batch_size,
        shape=shape,
        classes=classes,
        precision=precision.value if precision else None,
        implementation=implementation.value if implementation else None,
        overrides=tuple(sets or ()),
        data=data,
        steps=steps,
        format=format,
        check=check,
    )
    raise typer.Exit(forecast(model, options))


app.add_typer(importing.app)
app.add_typer(verify.app)


@app.command()
def verdicts(
    suite: Annotated[str, typer.Argument(help="A suite file with 'published:' rows, or a shipped suite.")],
    sets: Set = None,
    results: ResultsRoot = Path("results"),
    data: Data = None,
    format: Annotated[str, typer.Option("--format", help="terminal, markdown, csv or json.")] = "terminal",
) -> None:
    """Set a suite's published rows beside what was measured. Optimizer state is measured at once, by real steps on the model,
    where no trial has told it; nothing is trained."""
    from optbench.cli.verdicts import verdicts as judge

    judge(suite, tuple(sets or ()), results, data, format)


@app.command("list")
def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """What a suite can name, with one line each."""
    from optbench.cli import show

    show.listing(kind.value)


@app.command()
def doctor(
    results: ResultsRoot = Path("results"),
    data: Data = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Check installation, GPU, processor, data root, results folder and a first training, and say what to do.

    Exit code 0: runs will work; 1: something must be mended first.
    """
    from optbench.cli.doctor import doctor as examine

    raise typer.Exit(examine(results, data, device))


@app.command()
def schema() -> None:
    """The JSON Schema of suite files, for editors: they then complete and underline."""
    import json as json_

    from optbench.suite.schema import json_schema

    json_.dump(json_schema(), sys.stdout, indent=2)
    print()
