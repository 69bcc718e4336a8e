"""The command group. A command is a file in `commands/`, imported only when the command is used.

A command's name is that of its file, without a trailing underscore. The file has a docstring, which is its manual page, a constant
`PLACE` (its heading in `optbench --help` and its position there), and a function of the same name as the file, or a Typer `app` of several
commands.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from optbench.cli.layout import Command, Group
from optbench.version import __version__

#: headings of `optbench --help`, in this order
HEADINGS = (
    "Compare optimizers",
    "Read results",
    "Import and share",
    "Look up",
    "Check the installation",
)
_FOLDER = Path(__file__).parent / "commands"


class LazyGroup(Group):
    """The commands of `commands/`. `commands` has their names, headings and manual pages, read without importing their files."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _listed()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        listed = self.commands.get(cmd_name)
        return _load(listed) if listed is not None else None

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        return Group(commands=dict(self.commands), params=self.params).shell_complete(ctx, incomplete)


def _listed() -> dict[str, Any]:
    """Return every command without its parameters, by name, in the order of `optbench --help`."""
    listed = []
    for file in _FOLDER.glob("[!_]*.py"):
        text = file.read_text(encoding="utf-8")
        [place] = [line for line in text.splitlines() if line.startswith("PLACE = ")]
        heading, position = ast.literal_eval(place.removeprefix("PLACE = "))
        manual = text.split('"""', 2)[1]
        command = Command(file.stem.removesuffix("_"), help=manual, rich_help_panel=heading)
        listed.append((HEADINGS.index(heading), position, command))
    return {str(command.name): command for _, _, command in sorted(listed, key=lambda each: each[:2])}


def _load(listed: Any) -> Any:
    """Import the file of a command. Return the command with its parameters."""
    name = listed.name
    stem = name if (_FOLDER / f"{name}.py").exists() else f"{name}_"
    module = import_module(f"optbench.cli.commands.{stem}")
    several = getattr(module, "app", None)
    commands = several or typer.Typer(add_completion=False, rich_markup_mode=None)
    if several is None:
        commands.command(name, help=module.__doc__, cls=Command)(getattr(module, stem))
    command = get_command(commands)
    command.name, command.help = name, listed.help
    command.rich_help_panel = listed.rich_help_panel  # type: ignore[attr-defined]
    return command


app = typer.Typer(
    name="optbench",
    cls=LazyGroup,
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
