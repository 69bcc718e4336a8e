"""`optbench memory`: what training would take, before it is tried."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from optbench.cli import completion
from optbench.cli.options import Classes, Data, InputShape, Set, TextFormat

app = typer.Typer(rich_markup_mode=None)


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


@app.command()
def memory(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model, as in resnet20 or 'mlp(hidden=[512])'; or a suite, for its entries.",
            autocompletion=completion.models_and_suites,
        ),
    ],
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="An optimizer, as in adamw or 'torch.optim.SGD(momentum=0.9)'; repeatable; default: ten common ones.",
            autocompletion=completion.catalog("optimizers"),
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, metavar="N", help="Default 32; of a suite its own.")
    ] = None,
    shape: InputShape = None,
    classes: Classes = None,
    precision: Annotated[
        ForecastPrecision | None,
        typer.Option(
            metavar="PRECISION",
            help="fp32 or bf16; default fp32; of a suite its own, where auto is bf16 as on a GPU.",
        ),
    ] = None,
    implementation: Annotated[
        StepImplementation | None,
        typer.Option(
            metavar="NAME",
            help="Of the step: default, forloop, foreach or fused; default is what torch takes on a GPU, mostly foreach.",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Take at least so many steps, for state that comes late.")
    ] = 3,
    sets: Set = None,
    data: Data = None,
    format: TextFormat = "terminal",
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the real allocator's peak; needs an NVIDIA GPU.")
    ] = False,
) -> None:
    """Forecast the memory of training a model, without training it.

    Parameters, gradients, activations and the state of several optimizers; no GPU is needed.

    Examples:
      optbench memory resnet20
      optbench memory torchvision.models.resnet50 --batch-size 256 --precision bf16
      optbench memory 'mlp(hidden=[512])' --shape 1,28,28 --optimizer adamw --optimizer 'sgd(momentum=0.9)'
      optbench memory digits --format csv

    Exit codes:
      0  told for every optimizer
      1  some optimizer can't step on this model
      2  bad input
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
