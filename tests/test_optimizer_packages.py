"""Optimizers of installed packages: listed by reading their source, usable by their import path."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import platformdirs
import pytest
import yaml
from typer.testing import CliRunner

from optbench.catalog import lookup, optimizer_packages
from optbench.cli.app import app
from optbench.errors import OptbenchError

OPTIMIZERS = '''
import torch
from torch.optim import Optimizer
from torch.optim import SGD as Plain

class BaseOptimizer(Optimizer):
    pass

class Swift(BaseOptimizer):
    """Descend quickly. More text.

    Described in https://arxiv.org/abs/2401.00001.
    """

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

class Wrapper:
    """Wrapper Around SGD
    No learning rate is needed.
    """

    def step(self): ...
    def zero_grad(self): ...
    def state_dict(self): ...

class Schedule:
    def step(self): ...

class Attribute(torch.optim.Adam):
    pass

Alias = Swift
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a package that raises when it is imported."""
    name = "swift_optimizers"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("from .classes import *\nraise ImportError('broken')\n")
    (tmp_path / name / "classes.py").write_text(OPTIMIZERS)
    info = tmp_path / f"{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\nRequires-Dist: torch>=2\n"
    )
    (info / "top_level.txt").write_text(f"{name}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_classes_of_an_installed_package_are_found_without_importing_it(package: str) -> None:
    found = {one.use: one for one in optimizer_packages.offered() if one.package == package}
    assert list(found) == [f"{package}.{name}" for name in ("Attribute", "Swift", "Wrapper")]
    swift = found[f"{package}.Swift"]
    assert (swift.summary, swift.link, swift.version) == (
        "Descend quickly.",
        "https://arxiv.org/abs/2401.00001",
        "1.5",
    )
    assert found[f"{package}.Wrapper"].summary == "Wrapper Around SGD"
    assert package not in sys.modules


def test_a_folder_that_is_twice_on_the_path_changes_nothing(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = [one.use for one in optimizer_packages.offered()]
    monkeypatch.setattr(sys, "path", [*sys.path, *sys.path])
    assert [one.use for one in optimizer_packages.offered()] == once


def test_list_optimizers_shows_the_catalog_and_the_packages(package: str) -> None:
    printed = CliRunner().invoke(app, ["list", "optimizers"], env={"COLUMNS": "120"}).stdout
    assert "\nadamw " in printed
    assert f"\n{package} 1.5\n" in printed
    assert f"  {package}.Swift" in printed
    assert "torch.optim.SparseAdam" in printed
    assert "torch.optim.AdamW " not in printed, "it is in the catalog"
    assert "BaseOptimizer" not in printed


def test_an_unknown_name_names_the_classes_of_installed_packages(package: str) -> None:
    with pytest.raises(OptbenchError, match=f"installed packages have {package}.Swift"):
        lookup.resolve("optimizers", "swift")


def test_the_extra_installs_all_packages_of_the_zoo() -> None:
    root = Path(__file__).resolve().parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = {requirement.split(">=")[0].replace("-", "_") for requirement in extras["zoo"]} | {"torch"}
    entries = yaml.safe_load((root / "suites/zoo.yaml").read_text())["optimizers"]
    paths = [entry.get("use", label) for label, entry in entries.items()]
    used = {path.split(".")[0] for path in paths if isinstance(path, str) and "." in path}
    distributions = {
        "muon": "muon_optimizer",
        "optimi": "torch_optimi",
        "prodigyplus": "prodigy_plus_schedule_free",
    }
    assert len(used) > 10
    assert {distributions.get(module, module) for module in used} <= installed


def test_what_was_read_before_is_read_again_only_after_a_change(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPTBENCH_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    scan, scans = optimizer_packages._scan, []
    monkeypatch.setattr(optimizer_packages, "_scan", lambda: (scans.append(1), scan())[1])

    def listed() -> tuple[list[str], int]:
        scans.clear()
        return [one.use for one in optimizer_packages.offered() if one.package == package], len(scans)

    names, first = listed()
    assert first == 1
    assert listed() == (names, 0)
    classes = tmp_path / package / "classes.py"
    classes.write_text(OPTIMIZERS + "\nclass Newer(Optimizer):\n    pass\n")
    os.utime(classes, ns=(1, 1))
    assert listed() == (sorted([*names, f"{package}.Newer"]), 1)
    (file,) = (tmp_path / "cache/optimizers").iterdir()
    for damage in (b"", b"[]", b'{"key": 1}', file.read_bytes()[:-9]):
        file.write_bytes(damage)
        assert listed()[1] == 1
    assert listed()[1] == 0
    (tmp_path / f"{package}-1.5.dist-info").rename(tmp_path / f"{package}-1.6.dist-info")
    assert listed()[1] == 1
    monkeypatch.setenv("OPTBENCH_CACHE", "off")
    assert listed()[1] == 1
