"""Files that commands write: regular files are replaced whole, and everything else is opened and written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from optbench.errors import OptbenchError
from optbench.store.files import write_whole
from program import optbench

RESULTS = Path(__file__).resolve().parent / "fixtures/results-format-1"


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    real, link, further = tmp_path / "real.csv", tmp_path / "link.csv", tmp_path / "further.csv"
    real.write_text("old")
    link.symlink_to(real.name)
    further.symlink_to(link)
    done = optbench("records", RESULTS, "--output", further, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (further.is_symlink(), link.is_symlink(), real.is_symlink()) == (True, True, False)
    assert real.read_text().startswith("suite,")
    assert sorted(os.listdir(tmp_path)) == ["further.csv", "link.csv", "real.csv"]


def test_a_link_to_a_file_that_is_not_there_makes_that_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.csv")
    done = optbench("report", RESULTS, "--output", tmp_path / "link", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "real.csv").read_text()
    assert (tmp_path / "link").is_symlink()


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    done = optbench("records", RESULTS, "--output", tmp_path / "a.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "symbolic links" in done.stderr
    assert (tmp_path / "a.csv").is_symlink()


@pytest.mark.parametrize("command", ["report", "records"])
def test_a_fifo_is_written_and_stays_a_fifo(command: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.csv"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    done = optbench(command, RESULTS, "--output", fifo, cwd=tmp_path)
    reader.join()
    assert done.returncode == 0, done.stderr
    assert "optimizer" in read[0].partition("\n")[0]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


def test_a_reader_of_a_fifo_that_ends_early_ends_the_program_quietly(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: fifo.open("rb").close())
    reader.start()
    done = optbench("report", RESULTS, "--format", "html", "--output", fifo, cwd=tmp_path)
    reader.join()
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


def device(path: Path, minor: int) -> Path:
    """A device file of the test's own: the system's are in nobody's way."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        path.open("rb").close()
    except OSError as error:
        pytest.skip(f"no device can be made here: {error.strerror}")
    return path


def test_a_device_is_written_and_stays_a_device(tmp_path: Path) -> None:
    null = device(tmp_path / "null", 3)
    (tmp_path / "link.csv").symlink_to(null)
    for output in (null, tmp_path / "link.csv"):
        done = optbench("records", RESULTS, "--output", output, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert stat.S_ISCHR(null.lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link.csv", "null"]


def test_a_full_device_is_an_error(tmp_path: Path) -> None:
    full = device(tmp_path / "full", 7)
    done = optbench("records", RESULTS, "--output", full, cwd=tmp_path)
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert stat.S_ISCHR(full.lstat().st_mode)


def test_standard_output_by_its_name_gets_the_text_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/proc/self/fd/1")  # as /dev/stdout
    plain = run("records", str(RESULTS), cwd=tmp_path)
    for name in ("/proc/self/fd/1", "out"):
        named = run("records", str(RESULTS), "--output", name, cwd=tmp_path)
        assert named.returncode == 0, named.stderr
        assert named.stdout == plain.stdout
    script = f"echo head; {sys.executable} -m optbench records {RESULTS} --output out; echo tail"
    with (tmp_path / "file").open("w") as file:
        subprocess.run(["sh", "-c", script], stdout=file, check=True, cwd=tmp_path)
    assert (tmp_path / "file").read_text() == f"head\n{plain.stdout}tail\n"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "optbench", *arguments], cwd=cwd, text=True, capture_output=True, check=False
    )


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("old")
    (tmp_path / "private").chmod(0o600)
    write_whole(tmp_path / "private", "new")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_saving_a_report_follows_links(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/report.md").symlink_to("../kept.md")
    done = optbench("report", RESULTS, "--save", tmp_path / "saved", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "saved/report.md").is_symlink()
    assert (tmp_path / "kept.md").read_text().startswith("#")


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    with pytest.raises(OptbenchError, match="plan"):
        write_whole(tmp_path / "plan", "text")
