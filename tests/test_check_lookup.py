"""Names in a suite mean catalog items, entry points, import paths or files; nothing is imported to say which."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from optbench.catalog import lookup
from optbench.errors import OptbenchError


def test_a_family_lists_its_items_with_one_line_each() -> None:
    names = lookup.names("optimizers")
    assert {"sgd", "adam", "adamw", "rmsprop", "muon", "lbfgs"} <= names.keys()
    for family in lookup.FAMILIES:
        for name, line in lookup.names(family).items():
            assert line.endswith("."), (family, name)
            assert not name.startswith("_")


@pytest.mark.parametrize("name", sorted(lookup.items("optimizers")))
def test_every_catalog_optimizer_is_a_torch_optimizer(name: str) -> None:
    import torch

    found = lookup.load(lookup.resolve("optimizers", name))
    assert issubclass(found, torch.optim.Optimizer)
    assert found.__name__.lower() == name


def test_the_three_ways_to_name_code(tmp_path: Path) -> None:
    (tmp_path / "my_opt.py").write_text("class Mine: ...\n")
    catalog = lookup.resolve("models", "mlp", tmp_path)
    path = lookup.resolve("models", "torchvision.models.resnet50", tmp_path)
    file = lookup.resolve("optimizers", "my_opt.py:Mine", str(tmp_path))
    assert (catalog.kind, catalog.module) == ("catalog", "optbench.catalog.models.mlp")
    assert (path.kind, path.module, path.attribute) == ("import", "torchvision.models", "resnet50")
    assert (file.kind, file.file, file.attribute) == ("file", tmp_path / "my_opt.py", "Mine")


def test_a_file_is_imported_under_a_name_of_its_own(tmp_path: Path) -> None:
    path_before = list(sys.path)
    (tmp_path / "json.py").write_text("class Mine: version = 1\n")
    first = lookup.load(lookup.resolve("optimizers", "json.py:Mine", tmp_path))
    assert lookup.load(lookup.resolve("optimizers", "json.py:Mine", tmp_path)) is first
    (tmp_path / "json.py").write_text("class Mine: version = 2\n")
    assert lookup.load(lookup.resolve("optimizers", "json.py:Mine", tmp_path)).version == 2
    assert sys.path == path_before
    assert hasattr(sys.modules["json"], "loads")


def test_a_file_alone_is_an_item_like_a_catalog_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def build(shape, classes): return 'net'\n")
    assert lookup.load(lookup.resolve("models", "mine.py", tmp_path)).build((1,), 2) == "net"
    with pytest.raises(OptbenchError, match="expected FILE:NAME"):
        lookup.resolve("optimizers", "mine.py", tmp_path)


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        ("x = 1\ny = 1 / 0\n", 2, "ZeroDivisionError"),
        ("def f(:\n", 1, "SyntaxError"),
        ("def f():\n    raise ValueError('so')\n\nf()\n", 2, "ValueError: so"),
        ("import not_there_at_all\n", 1, "ModuleNotFoundError"),
    ],
)
def test_errors_in_a_users_file_have_its_line(tmp_path: Path, code: str, line: int, message: str) -> None:
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(OptbenchError, match=message) as caught:
        lookup.load(lookup.resolve("models", "bad.py:Net", tmp_path))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(tmp_path / "bad.py"), line)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("addam", "unknown optimizer 'addam'; did you mean 'adam'"),
        ("mine.py:X", "no file 'mine.py' in .*; did you mean 'mime.py'"),
        ("nope.sub.X", "the module 'nope' is not installed"),
        ("torch..optim", "cannot be found"),
        ("a b.c", "cannot be found"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "mime.py").write_text("")
    with pytest.raises(OptbenchError, match=message):
        lookup.resolve("optimizers", name, tmp_path)


def test_a_missing_attribute_is_named_with_the_nearest() -> None:
    with pytest.raises(OptbenchError, match="no 'Addam'; did you mean 'Adam'"):
        lookup.load(lookup.resolve("optimizers", "torch.optim.Addam"))


def entry_points_are(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(lookup, "installed", lambda: EntryPoints(points))
    lookup._entry_points.cache_clear()
    monkeypatch.setattr(lookup, "_entry_points", lookup._entry_points.__wrapped__)


def test_other_packages_add_items_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points_are(monkeypatch, EntryPoint("fast", "torch.optim:SGD", "optbench.optimizers"))
    import torch

    assert lookup.load(lookup.resolve("optimizers", "fast")) is torch.optim.SGD
    assert "torch.optim:SGD" in lookup.names("optimizers")["fast"]


@pytest.mark.parametrize("name", ["adam", "twice"])
def test_two_meanings_of_one_name_are_refused_naming_both(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    points = [EntryPoint(name, f"{module}:X", "optbench.optimizers") for module in ("pkg_a", "pkg_b")]
    entry_points_are(monkeypatch, *points)
    with pytest.raises(OptbenchError, match=rf"'{name}': .*(adam.py|pkg_a).* and pkg_"):
        lookup.resolve("optimizers", name)


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "width_of_mine.py").write_text("WIDTH = 16\n")
    (tmp_path / "net_of_mine.py").write_text(
        "from width_of_mine import WIDTH\ndef net():\n    return WIDTH\n"
    )
    before = list(sys.path)
    assert lookup.load(lookup.resolve("models", "net_of_mine.py:net", tmp_path))() == 16
    assert sys.path == before


def test_a_file_that_exits_when_imported_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(OptbenchError, match="fails when imported") as caught:
        lookup.load(lookup.resolve("models", "leaves.py:net", tmp_path))
    assert caught.value.problems[0].line == 2


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            "my_packge.Lion",
            "'my_packge.Lion' cannot be found: the module 'my_packge' is not installed in this environment; did you mean 'my_package'?",
        ),
        ("json", "'json' is a module; expected one of its names, as in 'json.NAME'"),
        ("outside:Moves", "unknown optimizer 'outside:Moves'; did you mean 'outside.py:Moves'?"),
    ],
)
def test_a_name_that_is_almost_right_gets_the_right_one(
    use: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "_module_names", lambda: ("my_package",))
    (tmp_path / "outside.py").touch()
    with pytest.raises(OptbenchError) as error:
        lookup.resolve("optimizers", use, tmp_path)
    assert str(error.value) == message


def test_invalid_syntax_in_a_package_is_reported_with_its_line(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "invalid_package.py").write_text("x = 1\ndef f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(OptbenchError, match=r"SyntaxError: invalid syntax \(.*invalid_package.py, line 2\)"):
        lookup.load(lookup.resolve("optimizers", "invalid_package.Adam"))
