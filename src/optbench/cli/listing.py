"""`optbench list`: what a suite can name."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)


class Kind(StrEnum):
    """What can be listed."""

    models = "models"
    data = "data"
    optimizers = "optimizers"
    schedules = "schedules"
    metrics = "metrics"
    losses = "losses"
    initialisations = "initialisations"
    suites = "suites"


@app.command("list")
def list_(
    kind: Annotated[
        Kind,
        typer.Argument(metavar="KIND", help="One of " + ", ".join(Kind) + "."),
    ],
) -> None:
    """List what a suite can name, with one line each.

    Examples:
      optbench list models
      optbench list optimizers
      optbench list suites

    Exit codes:
      0  printed
      2  unknown kind
    """
    listing(kind.value)


def listing(kind: str) -> None:
    """Print the names of a family, or of the shipped suites, with their descriptions."""
    if kind == "suites":
        items = _suites()
    else:
        from optbench.catalog.lookup import names

        items = names(kind)
    width = max(map(len, items), default=0)
    for name, line in items.items():
        print(f"{name:<{width}}  {line}")


def _suites() -> dict[str, str]:
    from optbench.suite.find import shipped
    from optbench.suite.load import load

    return {name: load(path).suite.title for name, path in shipped().items()}
