"""A run that is refused leaves the disk as it found it: what it made is gone, what was there before is not touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from optbench.cli.measure import _held
from optbench.errors import OptbenchError
from optbench.store import SuiteFolder


def everything(root: Path) -> dict[str, bytes | None]:
    """Each path below `root`, with its bytes; None for a folder."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


def refuse(folder: SuiteFolder, *files: str) -> None:
    """Begin a run, in which somebody writes `files`, and refuse it."""

    def begin() -> None:
        with _held(folder):
            for name in files:
                (folder.path / name).write_text("theirs")
            raise OptbenchError("not this one")

    with pytest.raises(OptbenchError):
        begin()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("results", ["results", "a/b/c", "a/../b", "./results/", "a b/[c]"])
def test_a_refused_run_takes_its_new_folders_away(here: Path, results: str) -> None:
    refuse(SuiteFolder.of(Path(results), "tiny"))
    assert everything(here) == {}


@pytest.mark.parametrize(
    "there",
    [
        ["results/"],
        ["results/tiny/"],
        ["results/tiny/trials/"],
        ["results/tiny/trials/", "results/tiny/checkpoints/", "results/tiny/run.lock"],
        ["results/tiny/trials/old.jsonl"],
        ["results/tiny/checkpoints/old.pt", "results/tiny/plan.json"],
        ["results/tiny/report.md"],
        ["results/other/trials/old.jsonl"],
    ],
)
@pytest.mark.parametrize("results", ["results", "new/../results"])
def test_what_was_there_before_survives_a_refused_run(here: Path, there: list[str], results: str) -> None:
    for name in there:
        path = here / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"" if path.name == "run.lock" else b"measured for days")
    before = everything(here)
    refuse(SuiteFolder.of(Path(results), "tiny"))
    after = everything(here)
    assert before.items() <= after.items()
    assert after.get("results/tiny/run.lock", b"") == b""  # no name in it, as if a run had been killed
    assert {Path(name).name for name in after.keys() - before.keys()} <= {"run.lock"}


def test_a_folder_behind_a_link_survives_a_refused_run(here: Path) -> None:
    (here / "disk" / "tiny").mkdir(parents=True)
    (here / "results").symlink_to("disk")
    refuse(SuiteFolder.of(here / "results", "tiny"))
    assert (here / "results").is_symlink()
    assert (here / "disk" / "tiny").is_dir()


def test_what_others_put_into_a_new_folder_keeps_it(here: Path) -> None:
    folder = SuiteFolder.of(Path("new/results"), "tiny")
    refuse(folder, "trials/theirs.jsonl", "../notes.txt")
    assert (folder.trials / "theirs.jsonl").read_text() == "theirs"
    assert (folder.path.parent / "notes.txt").read_text() == "theirs"


def test_a_folder_that_cannot_be_made_leaves_no_half_of_it(here: Path) -> None:
    (here / "file").write_text("not a folder")
    folder = SuiteFolder.of(Path("new/../file/results"), "tiny")
    with pytest.raises(OptbenchError), _held(folder):
        pytest.fail("there is no such folder")
    assert everything(here) == {"file": b"not a folder"}


def test_a_run_that_is_not_refused_keeps_its_folder(here: Path) -> None:
    folder = SuiteFolder.of(Path("results"), "tiny")
    with _held(folder):
        folder.write_text("plan.json", "{}")
    assert {"plan.json", "trials", "checkpoints", "run.lock"} == set(os.listdir(folder.path))


def test_the_second_run_is_refused_and_the_first_keeps_its_folder(here: Path) -> None:
    folder = SuiteFolder.of(Path("results"), "tiny")
    with _held(folder):
        with pytest.raises(OptbenchError, match=f"process {os.getpid()}"), _held(folder):
            pytest.fail("two runs in one folder")
        assert folder.trials.is_dir()
        folder.write_text("plan.json", "{}")
    assert (folder.path / "plan.json").exists()


def test_a_lock_whose_file_was_taken_away_meanwhile_is_taken_anew(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking the file another run may end, refused, and remove it."""
    import fcntl

    folder = SuiteFolder.of(Path("results"), "tiny")
    folder.create()
    lock, calls = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not calls:
            (folder.path / "run.lock").unlink()
        calls.append(descriptor)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder.lock():
        monkeypatch.setattr(fcntl, "flock", lock)
        assert len(calls) == 2
        with pytest.raises(OptbenchError, match="is running this suite"), folder.lock():
            pass
