"""Layers: which package may import which, and where torch may be imported."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "optbench"
MAY_IMPORT = {
    "suite": set(),
    "store": {"suite"},
    "catalog": {"suite"},
    "engine": {"suite", "catalog"},
    "executor": {"suite", "store", "engine", "catalog"},
    "importing": {"suite", "store"},
    "verify": {"suite", "catalog", "engine"},
    "analysis": {"suite", "store"},
    "report": {"suite", "store", "analysis"},
    "exporting": {"suite", "store", "analysis"},
    "runner": {"suite", "store", "catalog", "executor", "analysis", "report"},
    "api": {"suite", "store", "catalog", "executor", "analysis", "report", "runner"},
    "cli": {
        "suite",
        "runner",
        "store",
        "catalog",
        "engine",
        "executor",
        "importing",
        "exporting",
        "analysis",
        "report",
        "verify",
    },
}
WITHOUT_TORCH = ("suite", "store", "analysis", "report", "runner", "api", "cli", "importing", "exporting")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(tree: ast.Module, path: Path, everywhere: bool) -> set[str]:
    """Return the dotted names that a module imports, at its top or anywhere."""
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found = set()
    package = ["optbench", *path.relative_to(PACKAGE).parts[:-1]]
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


def test_layers_import_only_from_layers_below() -> None:
    problems = {}
    for path in modules():
        here = room(path)
        names = imports(parsed(path), path, everywhere=True)
        ours = {name.split(".")[1] for name in names if name.startswith("optbench.")}
        rooms = {name for name in ours if (PACKAGE / name).is_dir()}
        if here and (above := rooms - {here} - MAY_IMPORT[here]):
            problems[dotted(path)] = above
    assert problems == {}


def dotted(path: Path) -> str:
    parts = ["optbench", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_modules_have_no_cycles() -> None:
    """Deferred imports and those for type checkers count too."""
    known = {dotted(path): path for path in modules()}
    graph = {
        name: (imports(parsed(path), path, everywhere=True) & known.keys()) - {name}
        for name, path in known.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError with the modules of a cycle


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
#: the only imports of our own modules inside functions, with their reason: torch takes 2 seconds to load, pandas and scipy half a second
DEFERRED = {
    ("optbench", "optbench.api"): "`import optbench` loads nothing; the Python API loads pandas",
    ("optbench.cli.commands.memory", "optbench.engine"): "torch",
    ("optbench.cli.commands.new", "optbench.engine.step_time_estimate"): "torch",
    ("optbench.cli.commands.plan", "optbench.cli.detect"): "pandas",
    ("optbench.cli.commands.plan", "optbench.engine.devices"): "torch",
    ("optbench.cli.commands.steps", "optbench.engine"): "torch",
    ("optbench.cli.commands.verdicts", "optbench.engine.state_multiples"): "torch",
    ("optbench.cli.commands.verify", "optbench.verify"): "torch",
    (
        "optbench.cli.completion",
        "optbench.catalog.lookup",
    ): "help pages, which show no completions, load twice as fast",
    ("optbench.cli.completion", "optbench.suite.yaml_source"): "YAML, as above",
    ("optbench.cli.printing", "optbench.report.figures"): "pandas",
    ("optbench.executor.worker", "optbench.executor"): "torch, which only workers load",
    ("optbench.report", "optbench.report"): "pandas",
    ("optbench.runner.job", "optbench.runner.adaptive_plan"): "pandas",
}


def test_only_stated_imports_of_our_own_modules_are_inside_functions() -> None:
    assert len(DEFERRED) <= 15
    deferred = set()
    for path in modules():
        functions = [node for node in ast.walk(parsed(path)) if isinstance(node, FUNCTION)]
        for node in {inner for function in functions for inner in ast.walk(function)}:
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            deferred |= {(dotted(path), name) for name in imported if name.partition(".")[0] == "optbench"}
    assert deferred == DEFERRED.keys()


def test_torch_is_not_imported_at_module_level() -> None:
    importing = [
        dotted(path)
        for path in modules()
        if room(path) in WITHOUT_TORCH
        for name in imports(parsed(path), path, everywhere=False)
        if name.split(".")[0] in ("torch", "torchvision")
    ]
    assert importing == []
