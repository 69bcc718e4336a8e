"""Which libraries commands and the Python API load: torch, which takes 2 seconds, only where something is trained or measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parent / "fixtures/results-format-1"
LIBRARIES = {
    "torch", "torchvision", "schedulefree", "sklearn", "PIL", "tensorboard", "wandb", "mlflow",
    "matplotlib", "pandas", "scipy", "numpy", "rich", "pydantic", "msgspec", "yaml",
}  # fmt: skip
NO_TORCH = LIBRARIES - {"numpy", "pandas", "scipy", "rich", "pydantic", "msgspec", "yaml"}
NO_NUMPY = NO_TORCH | {"numpy", "pandas", "scipy"}
NO_RICH = NO_NUMPY | {"rich"}

READ_SIGNATURES = """
from optbench.catalog import lookup
from optbench.catalog.signatures import signature
for family, name in [("optimizers", "torch.optim.SGD"), ("optimizers", "muon"), ("models", "torchvision.models.vit_b_16"),
                     ("optimizers", "schedulefree.AdamWScheduleFree"), ("models", "mlp"), ("data", "digits")]:
    assert signature(lookup.resolve(family, name)).names
try:
    signature(lookup.resolve("optimizers", "torch.optim.Addam"))
except Exception as error:
    assert "'Adam'" in str(error)
"""
DESCRIBE_DATA = """
import socket
from importlib import import_module
from pathlib import Path
from unittest import mock
with mock.patch.object(socket, "socket", None):
    for name in ("digits", "synthetic", "fashion_mnist", "cifar10", "cifar100", "imagenette"):
        info = import_module("optbench.catalog.data." + name).describe(Path("nowhere"))
        assert min(info.train, info.validation, info.test) > 0
"""
READ_STUDY = """
import optbench
study = optbench.read("results")
study.table(), study.comparisons(), study._repr_html_()
optbench.load_suite("digits")
"""
RENDER = """
from pathlib import Path
from optbench.cli.completion import format_names
from optbench.report import render, save
from optbench.store import read
for name in format_names():
    render(read([Path("results")]), name)
save(read([Path("results")]), Path("saved"))
"""


def command(line: str) -> str:
    return f"from optbench.cli.entry import main; sys.argv = {['optbench', *line.split()]!r}; main()"


def completion(line: str) -> str:
    """Code that answers a shell which asks what may stand at the end of the line."""
    words = ["optbench", *line.split(" ")]
    variables = {"_OPTBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words)}
    variables["COMP_CWORD"] = str(len(words) - 1)
    return f"import os; from unittest import mock\nwith mock.patch.dict(os.environ, {variables!r}):\n    {command('')}"


ALL_HELP_PAGES = """
from optbench.cli.app import app
from typer.main import get_command
for name in get_command(app).commands:
    app([name, "--help"], standalone_mode=False)
"""
#: code and the libraries that it must not load. They run one after the other in one process: those that load more come later.
STEPS = {
    "--help": (command("--help"), LIBRARIES | {"optbench.cli.commands"}),
    "the help of each command": (ALL_HELP_PAGES, LIBRARIES),
    "list optimizers": (command("list optimizers"), NO_RICH | {"pydantic"}),
    "list suites": (command("list suites"), NO_RICH | {"pydantic"}),
    "import of the report": ("import optbench.report", NO_NUMPY),
    "completion of labels": (completion("run digits --only "), NO_NUMPY),
    "completion of models": (completion("memory "), NO_NUMPY),
    "completion of results": (completion("report "), NO_NUMPY),
    "list models": (command("list models"), NO_RICH),
    "names of exporters": ("import optbench.exporting; optbench.exporting.known_tools()", NO_NUMPY),
    "import of what loads suites": (
        "import optbench.suite.load, optbench.suite.plan, optbench.suite.schema, optbench.catalog.check",
        NO_NUMPY,
    ),
    "signatures": (READ_SIGNATURES, NO_NUMPY),
    "description of data": (DESCRIBE_DATA, NO_NUMPY),
    "check digits": (command("check digits"), NO_RICH),
    "check fashion_mnist": (command("check fashion_mnist"), NO_RICH),
    "check of other tasks": (command("check test_functions time_series"), NO_TORCH),
    "schema": (command("schema"), NO_TORCH),
    "plan digits": (command("plan digits"), NO_TORCH),
    "records": (command("records results"), NO_TORCH),
    "report": (command("report results --format csv"), NO_TORCH),
    "report and files in all formats": (RENDER, NO_TORCH),
    "study": (READ_STUDY, NO_TORCH),
    "run smoke": (
        command("run smoke --only Adam --seeds 1 --set workload.budget.epochs=1 --results new"),
        NO_TORCH,
    ),
}
PROGRAM = """
import contextlib, io, json, sys, traceback
loaded = {}
for name, code in json.load(sys.stdin).items():
    error = ""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            exec(code, {"sys": sys})
        except SystemExit as end:
            error = errors.getvalue() if end.code else ""
        except BaseException:
            error = traceback.format_exc()
    loaded[name] = [error, *sys.modules]
json.dump(loaded, sys.stdout)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return, per step, its error and the names of all modules that are loaded after it."""
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "results").symlink_to(RESULTS)
    codes = json.dumps({name: code for name, (code, _) in STEPS.items()})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, input=codes, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("step", STEPS)
def test_a_step_loads_only_what_it_needs(step: str, loaded: dict[str, list[str]]) -> None:
    error, *modules = loaded[step]
    assert error == ""
    assert STEPS[step][1] & set(modules) == set()
