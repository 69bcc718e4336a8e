"""Standard streams that are closed, full, or read by a program that has ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from real_runs import a_suite, ends

RESULTS = Path(__file__).resolve().parent / "fixtures/results-format-1"
READING = [
    "--help",  # printed by typer
    f"report {RESULTS}",  # by rich
    f"records {RESULTS}",  # by print
    "check tiny.yaml",
    *(
        pytest.param(command, marks=pytest.mark.slow)
        for command in (
            "--version",
            "report --help",
            f"report {RESULTS} --format html",
            f"compare {RESULTS} copy",
            "schema",
            "list optimizers",
            "list suites",
            "plan tiny.yaml",
            "run tiny.yaml --dry-run",
        )
    ),
]


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`line` in a shell; each `optbench` in it is the program."""
    program = f'optbench() {{ {sys.executable} -m optbench "$@"; }}; '
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", program + line],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "OPTBENCH_FIGURES": "off"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    shutil.copytree(RESULTS, tmp_path / "copy")
    return tmp_path


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("stream", [">/dev/full", ">&-"])
def test_output_that_cannot_be_written_is_one_line_and_exit_code_2(
    command: str, stream: str, folder: Path
) -> None:
    done = shell(f"optbench {command} {stream}", folder)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: cannot write to standard output: ")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("command", READING)
def test_a_reader_that_has_ended_ends_the_program_quietly(command: str, folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "optbench", *command.split()]
    done = subprocess.run(words, cwd=folder, text=True, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


def test_a_run_whose_table_has_no_room_is_stored_and_ends_with_exit_code_2(folder: Path) -> None:
    done = shell("optbench run tiny.yaml >/dev/full", folder)
    assert done.returncode == 2
    assert "error: cannot write to standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert [end["status"] for end in ends(folder)] == ["completed"]
    assert (folder / "results/tiny/report.csv").exists()


@pytest.mark.parametrize(
    "streams",
    [
        "<&- >&- 2>&-",
        "2>/dev/full",
        *(pytest.param(streams, marks=pytest.mark.slow) for streams in ("2>&-", ">&-", "<&-", ">&- 2>&-")),
    ],
)
def test_a_run_needs_none_of_its_streams(streams: str, folder: Path) -> None:
    done = shell(f"optbench run tiny.yaml {streams}", folder)
    assert done.returncode == 0, done.stderr
    assert [end["status"] for end in ends(folder)] == ["completed"]
    assert "Traceback" not in done.stderr
    assert (folder / "results/tiny/report.csv").exists()


def test_messages_that_cannot_be_written_change_no_exit_code(folder: Path) -> None:
    for stream in ("2>/dev/full", "2>&-", ">/dev/full 2>&1"):
        assert shell(f"optbench report nowhere {stream}", folder).returncode == 2
        assert shell(f"optbench report --no-such-option {stream}", folder).returncode == 2


def test_what_was_printed_before_an_error_is_kept(folder: Path) -> None:
    done = shell("optbench check tiny.yaml missing.yaml", folder)
    assert done.returncode == 2
    assert "missing.yaml" in done.stderr
