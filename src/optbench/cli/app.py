"""The command group. A command is a file in `commands/`, imported only when the command runs.

A command's name is that of its file, without a trailing underscore. The file has a docstring, which is its manual page, a constant
`PLACE` (its heading in `optbench --help` and its position there), and a function of the same name as the file, or a Typer `app` of several
commands. The parameters of the function are those of the command; with many, it takes `options`, a dataclass `Options` of them.
"""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

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
        return _with_parameters(listed) if listed is not None else None

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


def _with_parameters(listed: Any) -> Any:
    """Return a command with its parameters. Its file is imported when the command is called, which help and completion do not do."""
    name = listed.name
    stem = name if (_FOLDER / f"{name}.py").exists() else f"{name}_"
    command = _typer_command(_signatures(stem), stem)
    command.name, command.help, command.rich_help_panel = name, listed.help, listed.rich_help_panel
    for each in getattr(command, "commands", {"": command}).values():
        each.callback = _importing_callback(stem, each.name)
    return command


def _importing_callback(stem: str, name: str) -> Any:
    def callback(**parameters: Any) -> Any:
        command = _typer_command(vars(import_module(f"optbench.cli.commands.{stem}")), stem)
        return getattr(command, "commands", {}).get(name, command).callback(**parameters)

    return callback


def _typer_command(names: dict[str, Any], stem: str) -> Any:
    """Return the command that the global names of its file define."""
    commands = names.get("app") or typer.Typer(add_completion=False, rich_markup_mode=None)
    if "app" not in names:
        commands.command(cls=Command)(_with_fields(names[stem], names))
    return get_command(commands)


def _with_fields(function: Any, names: dict[str, Any]) -> Any:
    """Return a function of the fields of the dataclass `Options` if that is the argument of the command."""
    if [*inspect.signature(function).parameters] != ["options"]:
        return function
    options = names["Options"]
    types = get_type_hints(options, names, include_extras=True)
    fields = inspect.signature(options).parameters.values()

    def command(**values: Any) -> Any:
        return function(options(**values))

    command.__signature__ = inspect.Signature([p.replace(annotation=types[p.name]) for p in fields])  # type: ignore[attr-defined]
    return command


def _signatures(stem: str) -> dict[str, Any]:
    """Run the parts of a command's file that its parameters depend on, without the other imports. Return the global names."""
    tree = ast.parse((_FOLDER / f"{stem}.py").read_text(encoding="utf-8"))
    used, kept = {stem, "app"}, []
    for node in reversed(tree.body):  # a name is defined above its use
        if isinstance(node, ast.FunctionDef) and (node.name == stem or "Annotated" in _names(node.args)):
            node.body = [ast.Pass()] if ast.get_docstring(node) is None else node.body[:1]
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [
                alias for alias in node.names if (alias.asname or alias.name) in used | {"annotations"}
            ]
        defined = _defined(node)
        if not isinstance(node, ast.If) and (not defined or defined & used):
            kept.append(node)
            used |= _names(node)
    tree.body = [node for node in reversed(kept) if getattr(node, "names", True)]
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(ast.fix_missing_locations(tree), str(_FOLDER / f"{stem}.py"), "exec"), names)
    return names


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and not node.decorator_list):
        return {node.name}
    return {target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)}


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


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
