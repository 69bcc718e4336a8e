"""Registers all commands, in the order of `optbench --help`. Each command is a module with its own `app`.

These modules are imported at every start, so heavy imports are deferred to where they are used. Commands that need many of them
have their options in `commands/`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from optbench.cli import compare, export, importing, listing, merge, new, verify
from optbench.cli.commands import (
    check,
    doctor,
    memory,
    plan,
    records,
    report,
    run,
    schema,
    steps,
    verdicts,
    watch,
    work,
)
from optbench.cli.layout import Command, Group
from optbench.version import __version__

#: headings of `optbench --help`, with the modules of their commands
SECTIONS = {
    "Compare optimizers": (new, check, plan, run, work, watch),
    "Read results": (report, records, compare, verdicts),
    "Import and share": (merge, export, importing),
    "Look up": (listing, memory, steps, schema),
    "Check the installation": (doctor, verify),
}

app = typer.Typer(
    name="optbench",
    cls=Group,
    help="""Which optimizer, on this workload, and how sure are we? Compare optimizers from one YAML file.

    Examples:
      optbench run digits
      optbench run --help
      optbench report results/digits""",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"optbench {__version__}")
        raise typer.Exit


def _register(heading: str, added: typer.Typer) -> None:
    for command in added.registered_commands:
        command.cls = Command
        if not isinstance(added.info.name, str):  # else its commands have a page of their own
            command.rich_help_panel = heading
    app.add_typer(added, cls=Group, rich_help_panel=heading)


for _heading, _modules in SECTIONS.items():
    for _module in _modules:
        _register(_heading, _module.app)
