"""Check torch's optimizers against reference implementations, or a plug-in.

Without an argument, each optimizer of the installed torch is compared with an implementation of its published equations. With
an argument, this optimizer is tested for what a training loop needs: checkpoints, changed learning rates, missing gradients,
closures and more. Without --closure and --create-graph, a short test determines whether it needs them. With --all, the same
checks are run on every class that `optbench list optimizers` shows for a package, each in its own process.

Examples:
  optbench verify
  optbench verify my_opt.py:MyOpt --set lr=0.1
  optbench verify my_opt.py:MyAdam --as adam
  optbench verify sam.py:SAM --set base_optimizer=torch.optim.SGD --set lr=0.1
  optbench verify torch.optim.SGD --set lr=0.1 --as sgd
  optbench verify --all pytorch_optimizer --format markdown

Exit codes:
  0  all within tolerance, and all checks passed
  1  a deviation, or a failed check
  2  bad input
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optbench.catalog.optimizer_packages import offered
from optbench.cli.options import Device, argument, flag, option
from optbench.console import standard_output
from optbench.errors import OptbenchError, Problem, nearest
from optbench.suite.call_notation import parse_call
from optbench.suite.nested_optimizers import put
from optbench.suite.overrides import parse_override

if TYPE_CHECKING:
    from rich.console import RenderableType

PLACE = "Check the installation", 2


@dataclass(frozen=True)
class Options:
    """Arguments and options of the command."""

    optimizer: Annotated[
        str | None,
        argument(
            "[OPTIMIZER]",
            "Optimizer to check, for example my_opt.py:MyOpt. Default: torch's optimizers against reference implementations.",
        ),
    ] = None
    sets: Annotated[
        list[str] | None,
        option("KEY=VALUE", "An argument of the optimizer, for example lr=0.1. Repeatable.", "--set"),
    ] = None
    equation: Annotated[
        str | None,
        option(
            "NAME",
            "Also compare with the reference implementation of sgd, adagrad, rmsprop, adam or adamw.",
            "--as",
        ),
    ] = None
    allow: Annotated[list[str] | None, option("CHECK", "Name of a check that may fail. Repeatable.")] = None
    closure: Annotated[bool, flag("--closure", "Call step(closure), like an entry with `closure: true`.")] = (
        False
    )
    create_graph: Annotated[
        bool,
        flag("--create-graph", "Call backward(create_graph=True), like an entry with `create_graph: true`."),
    ] = False
    every: Annotated[
        bool,
        flag(
            "--all",
            "Check all optimizer classes of the installed packages, or those whose names begin with OPTIMIZER.",
        ),
    ] = False
    format_: Annotated[str, option("FORMAT", "With --all: table, csv or markdown.", "--format")] = "table"
    device: Device = "auto"


def verify(options: Options) -> None:
    if options.every:
        raise typer.Exit(_check_packages(options))
    if options.format_ != "table":
        raise OptbenchError("requires --all", where="--format")
    raise typer.Exit(_check_installed(options) if options.optimizer is None else _check_plugin(options))


def _check_installed(options: Options) -> int:
    _refuse_given(options, "requires the argument OPTIMIZER")
    table, passed = _checks().check_installed(options.device)
    _print(table)
    return int(not passed)


def _check_packages(options: Options) -> int:
    """Check all classes whose import path begins with `optimizer`. Return the exit code."""
    beginning, format_ = options.optimizer or "", options.format_
    if format_ not in (formats := ("table", "csv", "markdown")):
        raise OptbenchError(f"unknown format '{format_}'; {nearest(format_, formats)}", where="--format")
    _refuse_given(options, "cannot be combined with --all")
    classes = [one for one in offered() if not beginning or f"{one.use}.".startswith(f"{beginning}.")]
    if not classes and beginning:
        packages = {one.use.split(".")[0] for one in offered()}
        raise OptbenchError(
            f"no class of an installed package begins with '{beginning}'; {nearest(beginning, packages)}"
        )
    checks = _checks()
    results = checks.check_packages(classes, options.device, _note)
    if format_ == "table":
        _print(checks.packages_table(results))
    else:
        print(checks.packages_text(results, format_), end="")
    return int(any(one.failed or one.problem for one in results))


def _check_plugin(options: Options) -> int:
    typed = options.optimizer or ""
    name, arguments = parse_call(typed, "OPTIMIZER")
    for override in map(parse_override, options.sets or ()):
        put(arguments, override.path.split("."), override.value.data)
    checks = _checks()
    _refuse_unknown("--allow", options.allow or (), checks.CHECKS)
    _refuse_unknown("--as", (options.equation,) if options.equation else (), checks.REFERENCES)
    table, passed = checks.check_plugin(
        typed,
        name,
        arguments,
        device=options.device,
        allowed=options.allow or (),
        equation=options.equation,
        closure=options.closure or None,
        create_graph=options.create_graph or None,
    )
    _print(table)
    return int(not passed)


def _checks() -> ModuleType:
    """Import the checks, and torch with them."""
    from optbench.verify import checks

    return checks


def _note(checked: Any) -> None:
    """Report progress on standard error."""
    failed = checked.problem or ", ".join(checked.failed) or "passed"
    print(f"{checked.offered.use}: {failed}", file=sys.stderr, flush=True)


def _refuse_given(options: Options, message: str) -> None:
    """Raise `OptbenchError` for each option that is meant for a single optimizer."""
    given = [
        ("--set", options.sets),
        ("--as", options.equation),
        ("--allow", options.allow),
        ("--closure", options.closure),
        ("--create-graph", options.create_graph),
    ]
    if wrong := [Problem(message, option) for option, value in given if value]:
        raise OptbenchError(*wrong)


def _refuse_unknown(option: str, given: Sequence[str], known: Any) -> None:
    wrong = [
        Problem(f"unknown name '{word}'; {nearest(word, known)}", option)
        for word in given
        if word not in known
    ]
    if wrong:
        raise OptbenchError(*wrong)


def _print(what: RenderableType) -> None:
    standard_output(piped=120).print(what, crop=False)
