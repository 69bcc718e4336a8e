"""Results folders from other people: links, FIFOs, devices and texts that no run of optbench writes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from optbench.store.input_files import read_file
from program import Done, optbench
from real_runs import a_suite

RESULTS = Path(__file__).resolve().parent / "fixtures/results-format-1"
SECRET = "the secret\n"


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A suite's folder of somebody else; beside it lies a private file."""
    shutil.copytree(RESULTS / "tiny", tmp_path / "tiny")
    (tmp_path / "private").write_text(SECRET)
    return tmp_path / "tiny"


def merged(received: Path) -> tuple[Done, str]:
    """`optbench merge`, and everything that lies in the folder afterwards."""
    done = optbench("merge", received, "--into", "all", cwd=received.parent)
    assert "Traceback" not in done.stderr
    files = [path for path in (received.parent / "all").rglob("*") if path.is_file()]
    return done, "".join(path.read_text() for path in files)


@pytest.mark.parametrize("place", ["superseded", "trials"])
@pytest.mark.parametrize("kind", ["file", "records", "folder"])
def test_merge_refuses_links_that_lead_out_of_the_folder(place: str, kind: str, received: Path) -> None:
    link = received / place / "a--1.jsonl"
    if kind == "folder":
        outside = received.parent / "outside"
        outside.mkdir()
        (outside / "a--1.jsonl").write_text(SECRET)
        shutil.rmtree(received / place, ignore_errors=True)
        (received / place).symlink_to(outside)
    else:
        link.parent.mkdir(exist_ok=True)
        target = received.parent / "private"
        if kind == "records":
            target = received.parent / "others.jsonl"
            shutil.copy(next((received / "trials").iterdir()), target)
        link.symlink_to(target)
    done, copied = merged(received)
    assert done.returncode == 2
    assert "symbolic link that leads out of the results folder" in done.stderr
    assert "a--1.jsonl" in done.stderr
    assert copied == ""


def test_merge_refuses_superseded_files_that_are_no_records(received: Path) -> None:
    (received / "superseded").mkdir()
    (received / "superseded/notes.jsonl").write_text(SECRET)
    done, copied = merged(received)
    assert done.returncode == 2
    assert "superseded/notes.jsonl" in done.stderr
    assert copied == ""


def test_merge_copies_whole_records_and_nothing_else(received: Path) -> None:
    aside = received / "superseded"
    aside.mkdir()
    records = next((received / "trials").iterdir()).read_text()
    (aside / "cut--1.jsonl").write_text(records + SECRET.strip())
    (aside / "begun--1.jsonl").write_text(SECRET.strip())  # cut off in its first line: holds no record
    (received / "trials/notes.txt").write_text(SECRET)
    done, copied = merged(received)
    assert done.returncode == 0, done.stderr
    assert SECRET.strip() not in copied
    assert (received.parent / "all/tiny/superseded/cut--1.jsonl").read_text() == records


def endless(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)


@pytest.mark.parametrize("kind", ["fifo", "device", "huge"])
@pytest.mark.parametrize("command", ["report", "records", "merge"])
def test_what_is_no_file_of_records_neither_blocks_nor_fills_memory(
    kind: str, command: str, received: Path
) -> None:
    endless(received / "trials/p.jsonl", kind)
    if command == "merge":
        done, copied = merged(received)
        assert (done.returncode, copied) == (2, "")
    else:
        done = optbench(command, received, cwd=received.parent)
        assert done.returncode == 0, done.stderr
    if command != "records":
        said = " ".join((done.stdout + done.stderr).split())
        words = {"fifo": "not a regular file", "device": "leads out", "huge": "expected at most 256 MB"}
        assert words[kind] in said


@pytest.mark.parametrize("kind", ["fifo", "device", "huge"])
@pytest.mark.parametrize("name", ["plan.json", "run.lock"])
def test_other_files_of_the_folder_neither_block_nor_fill_memory(
    kind: str, name: str, received: Path
) -> None:
    (received / name).unlink(missing_ok=True)
    endless(received / name, kind)
    assert optbench("report", received, cwd=received.parent).returncode == 0
    assert optbench("watch", received, "--once", cwd=received.parent).returncode in (0, 1, 2)
    merged(received)


def test_a_run_into_a_received_folder_writes_through_no_link(received: Path) -> None:
    suite = a_suite(received.parent, {"SGD": "torch.optim.SGD"})
    (received / "run.lock").unlink(missing_ok=True)
    (received / "run.lock").symlink_to(received.parent / "private")
    done = optbench("run", suite, "--results", received.parent, cwd=received.parent)
    assert done.returncode == 2
    assert "run.lock" in done.stderr
    assert (received.parent / "private").read_text() == SECRET


def test_a_name_that_is_no_valid_text_is_shown_with_a_replacement(received: Path) -> None:
    plan = json.loads((received / "plan.json").read_text())
    (received / "plan.json").write_text(json.dumps({**plan, "suite": "x\ud800y"}))
    for path in (received / "trials").iterdir():
        header, _, rest = path.read_text().partition("\n")
        content = json.loads(header)
        content["trial"]["label"] = "\udfffB"
        path.write_text(json.dumps(content) + "\n" + rest)
    for command in ("report", "records"):
        done = optbench(command, received, "--format", "csv", cwd=received.parent)
        assert done.returncode == 0, done.stderr
    assert optbench("report", received, "--save", "saved", cwd=received.parent).returncode == 0
    done, _ = merged(received)
    assert done.returncode == 0, done.stderr
    (folder,) = (received.parent / "all").iterdir()
    assert folder.name.startswith("x-y-")


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/real").write_text("content")
    (tmp_path / "a/link").symlink_to("real")
    (tmp_path / "folder").symlink_to("a")
    assert read_file(tmp_path / "folder/link", tmp_path / "folder") == b"content"
    with pytest.raises(OSError, match="leads out"):
        read_file(tmp_path / "a/../a/link", tmp_path / "other")
