"""`optbench pack`: records in one archive that every command reads, and clear errors where it is damaged."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
from pathlib import Path
from unittest import mock

import pytest

from optbench.report import render
from optbench.store import SuiteFolder, archive, read
from optbench.suite_folders import ARCHIVE
from program import Done, optbench
from real_runs import a_suite as a_tiny_suite
from results_builder import a_suite, reaching, swept_twice, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events = {(label, seed): reaching(3 + seed) for label in ("SGD", "Adam") for seed in range(3)}
    path = write(tmp_path / "results", a_suite(), events).path
    (path / "superseded").mkdir()
    first = min((path / "trials").iterdir())
    (path / "superseded" / f"{first.stem}--1.jsonl").write_bytes(first.read_bytes())
    for number, file in enumerate(sorted(path.rglob("*.jsonl"))):
        os.utime(file, (1_700_000_000 + number,) * 2)
    return path


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The records by path, with their modification times in seconds."""
    paths = [*folder.rglob("*.jsonl"), folder / "plan.json"]
    return {str(p.relative_to(folder)): (p.read_bytes(), int(p.stat().st_mtime)) for p in paths if p.exists()}


def pack(folder: Path, *options: str) -> Done:
    done = optbench("pack", folder, *options, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return done


def told(folder: Path) -> list[str]:
    return [render(read([folder]), name) for name in ("terminal", "markdown", "csv", "json", "html")]


def test_reports_of_a_packed_folder_are_the_same(folder: Path) -> None:
    before = told(folder)
    done = pack(folder)
    assert "6 trials packed in records.tar.xz" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == [ARCHIVE, "run.lock"]
    assert told(folder) == before
    for command in ("report", "records"):
        shown = optbench(command, folder, cwd=folder.parent)
        assert (shown.returncode, shown.stderr) == (0, ""), command
        assert "Adam" in shown.stdout
    assert "All trials are complete" in optbench("watch", folder, cwd=folder.parent).stderr


def test_unpacking_restores_the_same_files_and_packing_again_the_same_archive(folder: Path) -> None:
    before = content(folder)
    assert len(before) == 8
    pack(folder)
    packed = (folder / ARCHIVE).read_bytes()
    assert "already packed" in pack(folder).stdout
    pack(folder, "--unpack")
    assert content(folder) == before
    assert not (folder / ARCHIVE).exists()
    assert "nothing to unpack" in pack(folder, "--unpack").stdout
    pack(folder)
    assert (folder / ARCHIVE).read_bytes() == packed


def test_the_archive_is_an_ordinary_tar_file(folder: Path) -> None:
    before = content(folder)
    pack(folder)
    with tarfile.open(folder / ARCHIVE) as tar:
        assert sorted(tar.getnames()) == sorted(before)
        tar.extractall(folder, filter="data")
    (folder / ARCHIVE).unlink()
    assert content(folder) == before


@pytest.mark.parametrize("step", ["before removal", "during removal", "during unpacking"])
def test_a_kill_loses_nothing(folder: Path, step: str) -> None:
    before, shown = content(folder), told(folder)
    pack(folder)
    if step != "during unpacking":
        archived = (folder / ARCHIVE).read_bytes()
        pack(folder, "--unpack")
        (folder / ARCHIVE).write_bytes(archived)
    else:
        with (
            mock.patch.object(archive, "sync_all", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            archive.unpack(folder)
    if step == "during removal":
        for path in sorted((folder / "trials").iterdir())[:3]:
            path.unlink()
    assert told(folder) == shown
    pack(folder)
    pack(folder, "--unpack")
    assert content(folder) == before


def test_records_that_are_not_read_back_are_not_removed(folder: Path) -> None:
    before = content(folder)
    with mock.patch.object(archive, "_compressed", return_value=archive._compressed({})):
        done = optbench("pack", folder, cwd=folder.parent)
    assert done.returncode == 2
    assert "differs from the records" in done.stderr
    assert content(folder) == before
    assert not (folder / ARCHIVE).exists()


def test_records_that_an_archive_cannot_have_are_an_error_before_it_is_written(folder: Path) -> None:
    first = min((folder / "trials").iterdir())
    first.rename(first.with_name("a\\b.jsonl"))
    before = content(folder)
    done = optbench("pack", folder, cwd=folder.parent)
    words = " ".join(done.stderr.split())
    assert done.returncode == 2
    assert "the archive differs from the records (unexpected content 'trials/a\\b.jsonl')" in words
    assert content(folder) == before
    assert not (folder / ARCHIVE).exists()


@pytest.mark.parametrize("size", [0, 300])
def test_files_that_a_killed_unpack_left_incomplete_come_from_the_archive(folder: Path, size: int) -> None:
    before = content(folder)
    pack(folder)
    archived = (folder / ARCHIVE).read_bytes()
    for options in ((), ("--unpack",)):
        archive.unpack(folder)
        (folder / ARCHIVE).write_bytes(archived)
        os.truncate(min((folder / "trials").iterdir()), size)
        pack(folder, *options)
        archive.unpack(folder)
        assert content(folder) == before
        archive.pack(folder)


def other_members(modified: float = 0, **members: bytes | str) -> bytes:
    """An archive with these files; text is the goal of a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.mtime = modified
            if isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
                tar.addfile(member)
            else:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "its end is missing"),
        (lambda data: data[: len(data) // 2], "its end is missing"),
        (lambda data: data[:-1], "its end is missing"),
        (lambda data: data[:500] + bytes(20) + data[520:], "Corrupt input data"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "format not supported"),
        (lambda data: lzma.compress(b"no tar file" * 100), "invalid header"),
        (lambda data: lzma.compress(lzma.decompress(data)[:20_000]), "unexpected end of data"),
        (lambda data: lzma.compress(bytes(2000)), "more than 1,000 bytes"),
        (
            lambda data: other_members(**{"trials/../../x.jsonl": b""}),
            "unexpected content 'trials/../../x.jsonl'",
        ),
        (lambda data: other_members(**{"/etc/passwd": b""}), "unexpected content '/etc/passwd'"),
        (
            lambda data: other_members(**{"trials/a.jsonl": "/etc/passwd"}),
            "unexpected content 'trials/a.jsonl'",
        ),
        (lambda data: other_members(1e300, **{"plan.json": b""}), "has an invalid modification time"),
    ],
    ids=[
        "empty",
        "half",
        "last byte",
        "noise",
        "lfs",
        "no tar",
        "cut tar",
        "bomb",
        "upwards",
        "absolute",
        "link",
        "time",
    ],
)
def test_a_damaged_archive_is_an_error_that_names_it(folder: Path, damage, reason: str, monkeypatch) -> None:
    pack(folder)
    path = folder / ARCHIVE
    path.write_bytes(damage(path.read_bytes()))
    if "more than" in reason:
        monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1000)
    for command in (["report"], ["pack"], ["pack", "--unpack"], ["merge", "--into", "all"]):
        done = optbench(command[0], folder, *command[1:], cwd=folder.parent)
        words = " ".join(done.stderr.split())
        assert done.returncode == 2, command
        assert f"{ARCHIVE}: damaged (" in words.replace(" ", "") or f"{ARCHIVE}: damaged (" in words
        assert reason in words
        assert "Restore it from a copy" in words
    assert path.exists()
    assert not (folder.parent / "all").exists()


def test_packed_folders_are_merged_and_merged_into(folder: Path, tmp_path: Path) -> None:
    more = write(
        tmp_path / "more", a_suite(seeds=4), {(label, 3): reaching(5) for label in ("SGD", "Adam")}
    ).path
    expected = optbench("merge", folder, more, "--into", tmp_path / "expected", cwd=tmp_path)
    assert expected.returncode == 0, expected.stderr
    pack(folder)
    pack(more)
    optbench("merge", folder, more, "--into", tmp_path / "all", cwd=tmp_path)
    assert render(read([tmp_path / "all"]), "csv") == render(read([tmp_path / "expected"]), "csv")
    assert (folder / ARCHIVE).exists()
    done = optbench("merge", more, "--into", folder.parent, cwd=tmp_path)
    assert "2 trials copied" in done.stdout, done.stderr
    assert not (folder / ARCHIVE).exists()
    assert len(content(folder)) == 10


def test_a_run_unpacks_only_to_add_records(tmp_path: Path) -> None:
    suite = a_tiny_suite(tmp_path, {"SGD": "torch.optim.SGD"}, 1)
    run = ("run", suite, "--threads", "1", "--reruns", "0")
    assert optbench(*run, cwd=tmp_path, OPTBENCH_FIGURES="off").returncode == 0
    folder = tmp_path / "results/tiny"
    first = content(folder)
    pack(folder)
    done = optbench(*run, cwd=tmp_path, OPTBENCH_FIGURES="off")
    assert done.returncode == 0, done.stderr
    assert "All trials are already in" in " ".join((done.stdout + done.stderr).split())
    assert (folder / ARCHIVE).exists()
    assert not list(folder.glob("trials/*"))
    plan = optbench("plan", suite, "--seeds", "2", cwd=tmp_path).stdout
    assert "1 done, 1 to run" in plan

    done = optbench(*run, "--seeds", "2", cwd=tmp_path, OPTBENCH_FIGURES="off")
    assert done.returncode == 0, done.stderr
    assert "Unpacked the records of 1 trial" in " ".join((done.stdout + done.stderr).split())
    assert not (folder / ARCHIVE).exists()
    trials = {name: data for name, (data, _) in content(folder).items() if name.startswith("trials")}
    assert len(trials) == 2
    assert {
        name: data for name, (data, _) in first.items() if name.startswith("trials")
    }.items() <= trials.items()

    pack(folder)
    assert optbench(*run, "--seeds", "2", "--fresh", cwd=tmp_path, OPTBENCH_FIGURES="off").returncode == 0
    assert len(list((folder / "trials").iterdir())) == len(list((folder / "superseded").iterdir())) == 2


def test_an_interrupted_trial_of_a_packed_folder_resumes(tmp_path: Path) -> None:
    suite = a_tiny_suite(tmp_path, {"SGD": "torch.optim.SGD"}, 2)
    run = ("run", suite, "--threads", "1", "--reruns", "0")
    assert optbench(*run, cwd=tmp_path, OPTBENCH_FIGURES="off").returncode == 0
    folder = tmp_path / "results/tiny"
    (trial,) = (folder / "trials").iterdir()
    whole = trial.read_bytes()
    trial.write_bytes(whole.rpartition(b'{"record"')[0][:-100])
    pack(folder)
    assert optbench(*run, cwd=tmp_path, OPTBENCH_FIGURES="off").returncode == 0
    assert b'"completed"' in trial.read_bytes()
    assert not (folder / ARCHIVE).exists()


def test_a_tuned_or_swept_suite_plans_the_same_from_a_packed_folder(tmp_path: Path) -> None:
    folder = swept_twice(tmp_path).path
    before = optbench("plan", tmp_path / "digits.yaml", "--results", folder.parent, cwd=tmp_path).stdout
    assert "done" in before
    pack(folder)
    assert (
        optbench("plan", tmp_path / "digits.yaml", "--results", folder.parent, cwd=tmp_path).stdout == before
    )


def test_a_folder_in_use_is_not_packed(folder: Path) -> None:
    with SuiteFolder(folder).lock():
        done = optbench("pack", folder, cwd=folder.parent)
    assert done.returncode == 2
    assert "is running this suite" in " ".join(done.stderr.split())
    assert len(content(folder)) == 8


def test_a_path_without_results_is_an_error(tmp_path: Path) -> None:
    done = optbench("pack", tmp_path, tmp_path / "missing", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("no results here") == 2
