"""Layers: which package may import which, and that commands that only read do not load torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "optbench"
LEAVES = {"errors", "events", ""}  # "" is the package itself, for its version
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


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layers_import_only_from_layers_below(path: Path) -> None:
    here = room(path)
    if here == "":
        return
    names = imports(parsed(path), path, everywhere=True)
    ours = {name.split(".")[1] for name in names if name.startswith("optbench.")}
    rooms = {name for name in ours if (PACKAGE / name).is_dir()}
    assert rooms - {here} <= MAY_IMPORT[here]


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


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if room(p) in WITHOUT_TORCH],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_torch_is_not_imported_at_module_level(path: Path) -> None:
    names = imports(parsed(path), path, everywhere=False)
    assert not {name for name in names if name.split(".")[0] in ("torch", "torchvision")}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list", "models"],
        ["list", "optimizers"],
        ["check", "digits"],
        ["check", "test_functions", "time_series"],
        ["plan", "digits"],
        ["schema"],
        ["run", "smoke", "--only", "Adam", "--seeds", "1", "--set", "workload.budget.epochs=1"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_nothing_but_the_trials_processes_loads_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from optbench.cli.app import app\n"
        f"try: app({arguments!r}, standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_pages_import_no_libraries_that_load_slowly() -> None:
    code = (
        "import sys; from optbench.cli.entry import app; from typer.main import get_command\n"
        "for name in get_command(app).commands:\n"
        "    try: app([name, '--help'], standalone_mode=False)\n"
        "    except SystemExit: pass\n"
        "slow = {'torch', 'pandas', 'scipy', 'numpy', 'matplotlib', 'pydantic', 'msgspec', 'yaml', 'rich'}\n"
        "sys.exit(str(slow & sys.modules.keys()) if slow & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Write a first suite" in done.stdout
