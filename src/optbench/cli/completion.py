"""Shell completion. It must be fast, so it imports no torch and reads suites without checking them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import typer

import optbench
from optbench.errors import OptbenchError
from optbench.suite.find import find_all, shipped, shipped_folders
from optbench.suite_folders import has_results

Offer = str | tuple[str, str]
Completer = Callable[[typer.Context, str], list[Offer]]

_MANY = 200  # a folder may hold very many files; nobody reads more


def suites(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return shipped suites and folders of suites, and suite files here and one folder down; the shell completes other paths."""
    names: list[Offer] = [(name, "shipped suite") for name in shipped()]
    names += [(name, "shipped folder of suites") for name in shipped_folders()]
    files = _paths(incomplete, _is_suite)
    return _matching([*names, *(file for file in files if incomplete or "/" not in file)], incomplete)


def results(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return folders with results, here and one folder down."""
    typed = {str(path) for path in [*(ctx.params.get("paths") or ()), *ctx.args]}
    return _matching([path for path in _paths(incomplete, _holds_results) if path not in typed], incomplete)


def labels(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return the optimizer entries of the suites on the command line."""
    found: dict[str, None] = {}
    for data in _suite_data(ctx):
        entries = data.get("optimizers")
        if isinstance(entries, Mapping):
            found |= dict.fromkeys(map(str, entries))
    return [_for_shell(label) for label in found if label.startswith(incomplete)]


def keys(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return `workload.budget.epochs=` and the like: each value of the suites on the command line."""
    found = dict.fromkeys(key for data in _suite_data(ctx) for key in _leaf_values(data, ()))
    return [_for_shell(f"{key}=") for key in found if key.startswith(incomplete)]


def catalog(family: str) -> Completer:
    """Return a completer with the names of one family and their descriptions."""

    def complete(ctx: typer.Context, incomplete: str) -> list[Offer]:
        from optbench.catalog.lookup import names

        # one line each: more would be wrapped, which zsh can't read
        lines = {name: shorten(line, 60, placeholder=" ...") for name, line in names(family).items()}
        return _matching(lines.items(), incomplete)

    return complete


def models_and_suites(ctx: typer.Context, incomplete: str) -> list[Offer]:
    return [*catalog("models")(ctx, incomplete), *suites(ctx, incomplete)]


def formats(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Return the formats of reports."""
    return _matching(format_names(), incomplete)


def format_names() -> list[str]:
    """Return the files of the folder of formats, without importing the reports; terminal, the default, comes first."""
    folder = Path(optbench.__file__).parent / "report" / "formats"
    names = {file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")}
    return sorted(names, key=lambda name: (name != "terminal", name))


def alternatives(names: Sequence[str]) -> str:
    """Return names as in "csv, json or latex"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def words(*known: Offer) -> Completer:
    """Return a completer with a fixed choice."""

    def complete(ctx: typer.Context, incomplete: str) -> list[Offer]:
        return _matching(known, incomplete)

    return complete


def devices(ctx: typer.Context, incomplete: str) -> list[Offer]:
    return _matching(("auto", "cpu", "cuda", "cuda:0", "mps"), incomplete)


def _matching(offers: Iterable[Offer], incomplete: str) -> list[Offer]:
    return [o for o in offers if (o if isinstance(o, str) else o[0]).startswith(incomplete)][:_MANY]


def _paths(incomplete: str, wanted: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    """Return the wanted entries of the typed folder, then those of its folders."""
    folder, slash, start = incomplete.rpartition("/")
    base = folder + slash
    found, deeper = [], []
    for entry in _entries(base):
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            if wanted(entry):
                found.append(f"{base}{entry.name}")
            elif entry.is_dir():
                inside = _entries(f"{base}{entry.name}")
                deeper += [f"{base}{entry.name}/{inner.name}" for inner in inside if wanted(inner)]
    return [*found, *deeper][:_MANY]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name; none if it cannot be read."""
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []


def _is_suite(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith((".yaml", ".yml"))


def _holds_results(entry: os.DirEntry[str]) -> bool:
    return has_results(Path(entry.path))


def _suite_data(ctx: typer.Context) -> Iterator[Mapping[str, Any]]:
    """Yield the content of the suites that the line names, without those that cannot be read."""
    from optbench.suite.yaml_source import read

    for name in ctx.args:  # while a value is missing, no argument has its name yet
        try:
            found = [read(path).data for path in find_all(name)[1]]
        except OptbenchError:
            continue
        yield from (data for data in found if isinstance(data, Mapping))


def _leaf_values(data: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _leaf_values(value, (*path, str(key)))
    elif not isinstance(data, list) and path:
        yield ".".join(path)


def _for_shell(text: str) -> str:
    """Return the text with spaces escaped for Bash, which inserts it unchanged, unless a quotation mark is open."""
    if os.environ.get("_OPTBENCH_COMPLETE") != "complete_bash":
        return text
    typed = os.environ.get("COMP_WORDS", "").rpartition("\n")[2]
    if typed[:1] in "\"'" and typed:
        return text
    return "".join(c if c.isalnum() or c in "._-=/:@%" else f"\\{c}" for c in text)
