"""Signatures are read from source and agree with what Python itself says."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from optbench.catalog import lookup
from optbench.catalog.closures import requires_closure
from optbench.catalog.signatures import Signature, signature
from optbench.errors import OptbenchError


def of(name: str, family: str = "optimizers", folder: Path = Path()) -> Signature:
    return signature(lookup.resolve(family, name, folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(
        """
from __future__ import annotations
import torch
import torch.optim as opt
from torch import optim
from torch.optim import SGD as Base
from dataclasses import dataclass

class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr: float, *, beta=0.9): ...
class Inherits(Plain): ...
class Forwards(Base):
    def __init__(self, params, extra=1, **kwargs):
        super().__init__(params, **kwargs)
class Swallows(opt.Optimizer):
    def __init__(self, params, lr=1.0, **kwargs): ...
class Dotted(optim.Adam): ...
Alias = torch.optim.AdamW
def factory(params, momentum=0.9, **kw):
    return torch.optim.SGD(params, lr=0.1, momentum=momentum, **kw)
def anything(params, **kw):
    return eval("torch.optim.SGD")(params, **kw)
@dataclass
class Data:
    params: list
    lr: float = 1.0
class Loads:
    @staticmethod
    def load(root, *, path="x"): ...
if True:
    def build(shape, classes, *, width=8): ...
"""
    )
    return tmp_path


@pytest.mark.parametrize(
    "name", ["SGD", "Adam", "AdamW", "RMSprop", "Muon", "LBFGS", "Adafactor", "NAdam", "ASGD"]
)
def test_torchs_optimizers_read_as_python_reads_them(name: str) -> None:
    import torch

    real = inspect.signature(getattr(torch.optim, name)).parameters
    read = of(f"torch.optim.{name}")
    assert read.names == tuple(real)
    required = {p.name for p in real.values() if p.default is p.empty}
    assert {p.name for p in read.parameters if p.required} == required


def test_keyword_arguments_of_torchvision_are_followed() -> None:
    read = of("torchvision.models.resnet50", "models")
    assert {"weights", "progress", "num_classes", "zero_init_residual", "norm_layer"} == set(read.names) - {
        "groups",
        "width_per_group",
        "replace_stride_with_dilation",
    }
    assert not read.accepts_any


def test_a_function_is_found_behind_a_module_of_its_name() -> None:
    import torchvision

    assert "dropout" in of("torchvision.models.alexnet", "models").names
    assert lookup.load(lookup.resolve("models", "torchvision.models.alexnet")) is torchvision.models.alexnet


def test_the_wrapped_packages_reexports_are_followed() -> None:
    import schedulefree

    real = inspect.signature(schedulefree.AdamWScheduleFree).parameters
    assert of("schedulefree.AdamWScheduleFree").names == tuple(real)


@pytest.mark.parametrize(
    ("name", "names", "accepts_any"),
    [
        ("Plain", "params lr beta", False),
        ("Inherits", "params lr beta", False),
        ("Swallows", "params lr", False),
        ("anything", "params", True),
        ("Data", "params lr", False),
    ],
)
def test_users_classes_and_factories(folder: Path, name: str, names: str, accepts_any: bool) -> None:
    read = of(f"mine.py:{name}", folder=folder)
    assert (read.names, read.accepts_any) == (tuple(names.split()), accepts_any)


def test_forwarded_and_inherited_arguments_are_named(folder: Path) -> None:
    assert {"params", "extra", "lr", "momentum", "nesterov"} <= set(
        of("mine.py:Forwards", folder=folder).names
    )
    assert {"lr", "betas"} <= set(of("mine.py:Dotted", folder=folder).names)
    assert {"lr", "betas"} <= set(of("mine.py:Alias", folder=folder).names)
    factory = of("mine.py:factory", folder=folder)
    assert {"params", "momentum", "weight_decay"} <= set(factory.names)
    assert "lr" not in factory.names  # given by the factory itself
    assert not factory.accepts_any


def test_defaults_and_annotations_are_read(folder: Path) -> None:
    read = of("mine.py:Plain", folder=folder)
    assert (read["lr"].required, read["lr"].annotation) == (True, "float")
    assert (read["beta"].required, read["beta"].default) == (False, 0.9)


def test_a_module_stands_for_its_function(folder: Path) -> None:
    assert of("mine.py", "models", folder).names == ("shape", "classes", "width")
    with pytest.raises(OptbenchError, match="no 'load'"):
        of("mine.py", "data", folder)


def test_a_class_stands_for_its_familys_function(folder: Path) -> None:
    assert of("mine.py:Loads", "data", folder).names == ("root", "path")


def test_a_missing_name_in_a_file_is_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(OptbenchError, match=r"mine\.py has no 'Plane'; did you mean 'Plain'"):
        of("mine.py:Plane", folder=folder)


def test_optimizers_that_need_a_closure_are_known() -> None:
    needs = {name: requires_closure(lookup.resolve("optimizers", name)) for name in ("lbfgs", "sgd", "muon")}
    assert needs == {"lbfgs": True, "sgd": False, "muon": False}
