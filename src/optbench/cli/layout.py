"""Layout of help pages, which are the docstrings of the commands.

The first paragraph is its line in `optbench --help`. Blocks that start with `Examples:` or `Exit codes:` are shown as they
are written. Nothing is cut off, and no types are shown: a metavar and a sentence say more.
"""

from __future__ import annotations

import inspect
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_AS_WRITTEN = ("Examples:", "Exit codes:")
#: what an option expects, by the type of the error of typer's validator
_EXPECTED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "at least {ge:g}",
}


def blocks(text: str) -> list[str]:
    """Return the paragraphs of a docstring; those headed by one of `_AS_WRITTEN` keep their lines."""
    return [block for block in inspect.cleandoc(text).split("\n\n") if block.strip()]


def summary(text: str) -> str:
    """Return the first paragraph on one line, without its full stop."""
    first = next(iter(blocks(text)), "")
    return " ".join(first.split()).removesuffix(".")


def examples(text: str) -> list[str]:
    """Return the command lines of a docstring's examples, without comments."""
    found = [block.splitlines()[1:] for block in blocks(text) if block.startswith("Examples:")]
    return [line.strip() for lines in found for line in lines]


class Command(TyperCommand):
    """A command with a manual page."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _take_as_typed(self, ctx)
        _take_plain_values(self, ctx)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _invalid_value(error)
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*_arguments_in_usage(self, ctx), *super().collect_usage_pieces(ctx)[:1]]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        _paragraphs(self.help or "", formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _parameters(self, ctx, formatter)
        _as_written(self.help or "", formatter)


class Group(TyperGroup):
    """Several commands, under headings in the order of registration."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _take_as_typed(self, ctx)
        _take_plain_values(self, ctx)
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        _paragraphs(self.help or "", formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _parameters(self, ctx, formatter)
        _as_written(self.help or "", formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        shown = [(name, command) for name, command in self.commands.items() if not command.hidden]
        width = max((len(name) for name, _ in shown), default=0)
        for heading, rows in groupby(shown, lambda row: getattr(row[1], "rich_help_panel", None)):
            with formatter.section(heading or "Commands"):
                formatter.write_dl(
                    [(name.ljust(width), summary(command.help or "")) for name, command in rows]
                )


def _invalid_value(error: typer.BadParameter) -> str:
    """Return the message for an invalid value of an option, without the words of typer's validator."""
    errors = getattr(error.__cause__, "errors", None)
    details: Any = errors()[0] if errors else {"type": ""}
    expected = _EXPECTED.get(details["type"])
    if expected is None:
        return error.message.removeprefix("Value error, ")
    return f"expected {expected.format(**details.get('ctx', {}))}; found {details['input']}"


def _take_as_typed(command: Any, ctx: Any) -> None:
    """Skip conversions during completion, which must be fast: typer would load its validator."""
    if ctx.resilient_parsing:
        for param in command.get_params(ctx):
            param.process_value = lambda ctx, value: value


def _take_plain_values(command: Any, ctx: Any) -> None:
    """Skip the conversion of text and flags: typer's validator takes longer to load than a list takes to print."""
    for param in command.get_params(ctx):
        kind = getattr(getattr(param, "type_descriptor", None), "annotation", None)
        if kind is str or (kind is bool and param.is_flag):
            param._runtime_param = _Plain()


class _Plain:
    """Stands where typer keeps what converts a parameter's values."""

    def coerce(self, value: Any, **_: Any) -> Any:
        return value


def _arguments_in_usage(command: Any, ctx: Any) -> list[str]:
    """Return arguments as in `SUITE...` and `[RESULTS]...`: the metavar without further braces."""
    pieces = []
    for param in command.get_params(ctx):
        if param.param_type_name == "argument":
            name = param.metavar or param.name.upper()
            pieces.append(name if param.required or name.startswith("[") else f"[{name}]")
    return pieces


def _paragraphs(text: str, formatter: Any) -> None:
    for block in blocks(text):
        if not block.startswith(_AS_WRITTEN):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(block)


def _as_written(text: str, formatter: Any) -> None:
    for block in blocks(text):
        if block.startswith(_AS_WRITTEN):
            formatter.write_paragraph()
            formatter.write(block + "\n")


def _parameters(command: Any, ctx: Any, formatter: Any) -> None:
    params = [param for param in command.get_params(ctx) if not getattr(param, "hidden", False)]
    for heading, kind in (("Arguments", "argument"), ("Options", "option")):
        rows = [_row(param, ctx) for param in params if param.param_type_name == kind]
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows)


def _row(param: Any, ctx: Any) -> tuple[str, str]:
    if param.param_type_name == "argument":
        return param.metavar or param.name.upper(), _help_text(param, ctx)
    name = ", ".join([*param.opts, *param.secondary_opts])
    if not (param.is_flag or param.count):
        name += f" {param.metavar or param.opts[-1].lstrip('-').upper()}"
    return name, _help_text(param, ctx)


def _help_text(param: Any, ctx: Any) -> str:
    """Return the help text, with the default if the text does not mention it."""
    text = param.help or ""
    default = param.get_default(ctx, call=False)
    default = getattr(default, "value", default)
    if default in (None, "", (), []) or isinstance(default, bool) or callable(default) or "efault" in text:
        return text
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text}  [default: {shown}]"
