"""Suites are found by path, or by the name of a shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.errors import OptbenchError
from optbench.suite.find import find, find_all, shipped


def test_a_path_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("a: 1")
    assert find(path) == path
    assert find(str(path)) == path


def test_a_shipped_suite_is_found_by_name_even_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert find("digits") == shipped()["digits"]
    assert {"digits", "smoke", "resnet50"} <= shipped().keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digts", "did you mean 'digits'"),
        ("sub/none.yaml", "no suite file 'sub/none.yaml'; shipped suites: "),
        ("mime.yaml", "did you mean 'mine.yaml'"),
        ("folder", "found the folder 'folder'"),
        ("x" * 5000, "not a usable path"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("a: 1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OptbenchError, match=message):
        find(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clams", "no suite 'clams': .* did you mean 'claims'"),
        ("digts", "did you mean 'digits'"),
        ("folder", r"the folder 'folder' contains no suites: expected files named \*.yaml"),
    ],
)
def test_a_folder_of_suites_that_is_not_there_is_named_with_the_nearest(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("no suite")
    with pytest.raises(OptbenchError, match=message):
        find_all(text)
