"""`optbench memory`: estimate the memory that training needs, without training."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from optbench.cli import completion
from optbench.cli.options import Classes, Data, InputShape, ModelTask, Set, TextFormat

app = typer.Typer(rich_markup_mode=None)


class ForecastPrecision(StrEnum):
    """Precisions that `memory` supports."""

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
            help="A model, for example resnet20 or 'mlp(hidden=[512])', or a suite, for its model and optimizers.",
            autocompletion=completion.models_and_suites,
        ),
    ],
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="An optimizer, for example adamw or 'torch.optim.SGD(momentum=0.9)'. Repeatable. Default: ten common ones.",
            autocompletion=completion.catalog("optimizers"),
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, metavar="N", help="Batch size. Default: the suite's, or 32 for a model."
        ),
    ] = None,
    task: ModelTask = None,
    shape: InputShape = None,
    classes: Classes = None,
    precision: Annotated[
        ForecastPrecision | None,
        typer.Option(
            metavar="PRECISION",
            help="fp32 or bf16. Default: the suite's (auto means bf16, as on a GPU), or fp32 for a model.",
        ),
    ] = None,
    implementation: Annotated[
        StepImplementation | None,
        typer.Option(
            metavar="NAME",
            help="Implementation of step(): default, forloop, foreach or fused. default is torch's choice on a GPU, usually foreach.",
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Minimum number of steps, for optimizers that allocate state late."
        ),
    ] = 3,
    sets: Set = None,
    data: Data = None,
    format: TextFormat = "terminal",
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare the estimate with the measured peak. Needs an NVIDIA GPU."),
    ] = False,
) -> None:
    """Estimate the memory needed to train a model, without training it.

    Reports parameters, gradients, activations and optimizer state for several optimizers. No GPU is needed.

    Examples:
      optbench memory resnet20
      optbench memory torchvision.models.resnet50 --batch-size 256 --precision bf16
      optbench memory 'mlp(hidden=[512])' --shape 1,28,28 --optimizer adamw --optimizer 'sgd(momentum=0.9)'
      optbench memory 'gpt(depth=12, heads=12, dim=768)' --shape 1024 --classes 50257 --batch-size 8 --precision bf16
      optbench memory digits --format csv

    Exit codes:
      0  estimated for all optimizers
      1  at least one optimizer cannot train this model
      2  bad input
    """
    from optbench.cli.memory import Options
    from optbench.cli.memory import memory as forecast

    options = Options(
        optimizers=tuple(optimizer or ()),
        batch_size=batch_size,
        task=task,
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
