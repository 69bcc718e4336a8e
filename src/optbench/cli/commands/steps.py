"""`optbench steps`: measure the time of `step()` for each optimizer on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli import completion
from optbench.cli.options import Classes, Data, Device, InputShape, ModelTask, TextFormat

app = typer.Typer(rich_markup_mode=None)


class MeasuredImplementation(StrEnum):
    """Implementations of `step()` that can be measured."""

    forloop = "forloop"
    foreach = "foreach"
    fused = "fused"
    compiled = "compiled"


@app.command()
def steps(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]",
            help="The model whose parameters are updated, for example resnet20 or 'mlp(hidden=[512])'.",
            autocompletion=completion.catalog("models"),
        ),
    ] = "torchvision.models.resnet18",
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="An optimizer, for example adamw or 'sgd(momentum=0.9)'. Repeatable. Default: seven common ones.",
            autocompletion=completion.catalog("optimizers"),
        ),
    ] = None,
    implementation: Annotated[
        list[MeasuredImplementation] | None,
        typer.Option(
            "--implementation",
            metavar="NAME",
            help="forloop, foreach, fused or compiled. Repeatable. Default: all.",
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Number of interleaved rounds. The median over rounds is reported."
        ),
    ] = 9,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads. Default: torch's choice.")
    ] = None,
    task: ModelTask = None,
    shape: InputShape = None,
    classes: Classes = None,
    device: Device = "auto",
    data: Data = None,
    format: TextFormat = "terminal",
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="DIR", help="Also write the tables and a figure to this folder."),
    ] = None,
) -> None:
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
      1    at least one optimizer could not be measured; its rows say why
      2    bad input
      130  stopped with Ctrl-C
    """
    from optbench.cli.steps import Options, measure_steps

    options = Options(
        tuple(optimizer or ()),
        tuple(name.value for name in implementation or ()),
        rounds,
        threads,
        task,
        shape,
        classes,
        device,
        data,
        format,
        save,
    )
    raise typer.Exit(measure_steps(model, options))
