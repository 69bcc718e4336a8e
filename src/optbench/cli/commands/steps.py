"""`optbench steps`: what a step of each optimizer costs on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optbench.cli import completion
from optbench.cli.options import Classes, Data, Device, InputShape, TextFormat

app = typer.Typer(rich_markup_mode=None)


class MeasuredImplementation(StrEnum):
    """Of a step."""

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
            help="Whose parameters are updated, as in resnet20 or 'mlp(hidden=[512])'.",
            autocompletion=completion.catalog("models"),
        ),
    ] = "torchvision.models.resnet18",
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="An optimizer, as in adamw or 'sgd(momentum=0.9)'; repeatable; default: seven common ones.",
            autocompletion=completion.catalog("optimizers"),
        ),
    ] = None,
    implementation: Annotated[
        list[MeasuredImplementation] | None,
        typer.Option(
            "--implementation",
            metavar="NAME",
            help="forloop, foreach, fused or compiled; repeatable; default: all.",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Interleaved rounds; the median over them is told.")
    ] = 9,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads; default: torch's own choice.")
    ] = None,
    shape: InputShape = None,
    classes: Classes = None,
    device: Device = "auto",
    data: Data = None,
    format: TextFormat = "terminal",
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Also write the tables and a figure there.")
    ] = None,
) -> None:
    """Measure `step()` of optimizers against the memory traffic it takes.

    Each optimizer is measured on the model's parameters in each implementation that it has, in turns. The floor is one pass over
    memory that moves as many bytes as the update reads and writes.

    Examples:
      optbench steps
      optbench steps resnet20 --optimizer adam --optimizer rmsprop --threads 1
      optbench steps --implementation fused --implementation compiled --save steps

    Exit codes:
      0    every optimizer was measured
      1    of some optimizer nothing could be measured; its rows say why
      2    bad input
      130  stopped with Ctrl-C
    """
    from optbench.cli.steps import Options, measure_steps

    options = Options(
        tuple(optimizer or ()),
        tuple(name.value for name in implementation or ()),
        rounds,
        threads,
        shape,
        classes,
        device,
        data,
        format,
        save,
    )
    raise typer.Exit(measure_steps(model, options))
