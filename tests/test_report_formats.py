"""What people read: every format, through the store, for usual and hostile results."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from optbench.cli.completion import format_names
from optbench.errors import OptbenchError
from optbench.report import build_report, render, render_report, save
from optbench.report.records import records
from optbench.report.selection import selected
from optbench.report.text import clean, number, seconds
from optbench.store import Results, read
from program import optbench
from results_builder import HOSTILE, a_suite, curve, diverged, failed, reaching, write


def results(tmp_path: Path, suite, events) -> Results:
    write(tmp_path, suite, events)
    return read([tmp_path])


def usual(tmp_path: Path, seeds: int = 5, labels: tuple[str, ...] = ("SGD", "Adam")) -> Results:
    """Each entry a little slower and better than the one before."""
    events = {
        (label, seed): reaching(3 + index, 0.9 + index / 50 + (seed * (7 + index) % 5) / 1000)
        for index, label in enumerate(labels)
        for seed in range(seeds)
    }
    return results(tmp_path, a_suite(labels=labels, seeds=seeds, title="Which one?"), events)


def cells(markdown: str, optimizer: str) -> list[str]:
    """Of the optimizer's row in the first table."""
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {optimizer} "))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- formats


def test_every_format_is_found_described_and_renders(tmp_path):
    assert set(format_names()) >= {"terminal", "markdown", "csv", "json", "html"}
    found = usual(tmp_path)
    assert all("Adam" in render(found, name) for name in format_names())


@pytest.mark.parametrize(("metrics", "zero"), [(("loss",), "+0"), (("accuracy",), "+0.00")])
def test_equal_differences_have_no_negative_zero_and_no_interval(tmp_path, metrics, zero):
    events = {(label, seed): curve([0.9]) for label in ("SGD", "Adam") for seed in (0, 1)}
    suite = a_suite(seeds=2, metrics=metrics, target=())
    text = render(results(tmp_path, suite, events), "markdown").split("**Difference of the final")[1]
    assert cells(text, "Adam") == ["Adam", zero, "–", "1.000", "2"]


def test_an_unknown_format_names_the_nearest(tmp_path):
    with pytest.raises(OptbenchError, match="did you mean 'markdown'"):
        render(usual(tmp_path), "markdwn")


def test_save_writes_the_report_and_its_numbers(tmp_path):
    found = usual(tmp_path / "results")
    report, numbers = save(found, tmp_path / "out")
    assert report.read_text(encoding="utf-8") == render(found, "markdown")
    assert numbers.read_text(encoding="utf-8") == render(found, "csv")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.csv", "report.md"]


# --- the table


def test_the_table_of_a_usual_suite(tmp_path):
    text = render(usual(tmp_path), "markdown")
    assert "# Which one?" in text
    assert "| optimizer | epochs to target | seconds to target | final accuracy % | memory overhead |" in text
    assert cells(text, "SGD") == ["SGD", "3", "1.5", "90.2 ± 0.2", "2.00x", "5/5", "completed"]
    assert cells(text, "Adam")[3] == "**92.2 ± 0.2**"
    assert "optbench run digits" in text
    assert "Measured on Test CPU, 1 thread, fp32, torch 2.15.0" in text


def test_times_show_the_range_under_six_seeds_and_the_interval_from_there_on(tmp_path):
    for seeds, shown, words in ((3, "4 (3–5)", "range over seeds"), (6, "5.5 (2–8)", "95 % interval")):
        events = {("SGD", seed): reaching(3 + seed) for seed in range(seeds)}
        text = render(
            results(tmp_path / str(seeds), a_suite(labels=["SGD"], seeds=seeds), events), "markdown"
        )
        assert cells(text, "SGD")[1] == shown
        assert words in text


def test_a_target_that_no_one_reached_reports_it(tmp_path):
    text = render(
        results(tmp_path, a_suite(labels=["SGD"], seeds=1), {("SGD", 0): curve([0.5] * 10)}), "markdown"
    )
    assert cells(text, "SGD")[1:3] == ["not reached", "not reached"]
    assert cells(text, "SGD")[5] == "0/1"


def test_a_target_that_half_reached_is_beyond_the_budget(tmp_path):
    events = {("SGD", 0): curve([0.5] * 10), ("SGD", 1): reaching(3)}
    text = render(results(tmp_path, a_suite(labels=["SGD"], seeds=2), events), "markdown")
    assert cells(text, "SGD")[1] == r"\> 10"
    assert cells(text, "SGD")[5] == "1/2"


def test_failures_are_rows_and_counts_never_gaps(tmp_path):
    events = {("Dud", seed): diverged() for seed in range(2)}
    events |= {
        ("Half", 0): reaching(3),
        ("Half", 1): diverged(),
        ("Broken", 0): failed(),
        ("Broken", 1): failed(),
    }
    suite = a_suite(labels=["Dud", "Half", "Broken", "Later"], seeds=2)
    text = render(results(tmp_path, suite, events), "markdown")
    assert cells(text, "Dud")[3:] == ["0.0 †", "2.00x", "0/2", "diverged"]
    assert cells(text, "Half")[3] == "47.5 †"
    assert cells(text, "Half")[6] == "1 of 2 diverged"
    assert cells(text, "Broken")[6] == "failed"
    assert cells(text, "Later") == ["Later", "–", "–", "–", "–", "0/0", "not run"]
    assert "count as 0" in text


def test_only_what_can_be_distinguished_is_marked(tmp_path):
    same = {(label, seed): reaching(3, 0.9 + seed / 100) for label in ("SGD", "Adam") for seed in range(5)}
    tied = render(results(tmp_path / "tied", a_suite(seeds=5), same), "markdown")
    assert "**9" not in tied
    assert "No entry's final metric is significantly worse" in tied
    one = render(usual(tmp_path / "one", seeds=1), "markdown")
    assert "**9" not in one
    assert "only one seed: no difference can be tested" in one


def test_no_word_ranks_anything(tmp_path):
    text = render(usual(tmp_path, labels=("A", "B", "C")), "terminal").lower()
    assert not re.search(r"\b(best|winner|rank|fastest)\b", text)


def test_every_further_target_has_a_table(tmp_path):
    targets = [{"metric": "accuracy", "at_least": value} for value in (0.4, 0.9)]
    suite = a_suite(labels=["SGD"], seeds=1, target=targets)
    text = render(results(tmp_path, suite, {("SGD", 0): reaching(3)}), "terminal")
    assert text.index(">= 0.4") < text.index(">= 0.9")
    assert [line.split()[1] for line in text.splitlines() if line.startswith("SGD")] == ["1", "3"]


def test_several_workloads_have_a_block_each(tmp_path):
    suite = a_suite(labels=["SGD"], seeds=1)
    two = suite.model_copy(
        update={"workloads": {"one": suite.workloads["main"], "two": suite.workloads["main"]}}
    )
    text = render(results(tmp_path, two, {("SGD", 0): reaching(3)}), "markdown")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## one", "## two"]


# --- the terminal


@pytest.mark.parametrize("labels", [("SGD",), ("SGD + Momentum", "Adam", "AdamW", "RMSprop"), tuple(HOSTILE)])
@pytest.mark.parametrize("seeds", [1, 3, 6])
def test_the_terminal_stays_within_80_columns(tmp_path, labels, seeds):
    text = render(usual(tmp_path, seeds, labels), "terminal")
    assert max(cell_len(line) for line in text.splitlines()) <= 80


def test_the_note_on_differences_is_shown_with_their_table_only(tmp_path):
    report = build_report(usual(tmp_path))
    note = "Differences: p from the same tests"
    assert note not in render_report(report, "terminal")
    assert note in render_report(selected(report, ["difference of"]), "terminal")
    for format in ("markdown", "latex", "json", "html"):
        assert note in render_report(report, format)


def test_wide_numbers_leave_the_status_whole_at_80_columns(tmp_path):
    def slow(epoch: int) -> list:
        return [
            replace(event, train_seconds=event.train_seconds * 4.2)
            if hasattr(event, "train_seconds")
            else event
            for event in reaching(epoch, 0.9 + epoch / 100)
        ]

    labels = ("SGD + Momentum", "Adam")
    events = {(label, seed): slow(6 + seed % 3) for label in labels for seed in range(6)}
    text = render(results(tmp_path, a_suite(labels=labels, seeds=6), events), "terminal")
    assert re.search(r"7 \(5–8\) +14\.7 \(10\.5–16\.8\) +97\.0 ± 0\.9 +2\.00x +6/6 completed", text)
    assert max(map(cell_len, text.splitlines())) <= 80


def test_forty_optimizers_have_forty_rows(tmp_path):
    labels = tuple(f"entry{index}" for index in range(40))
    text = render(usual(tmp_path, 2, labels), "terminal")
    assert len(re.findall(r"^entry\d+ ", text, re.MULTILINE)) == 40


def test_the_terminal_gets_no_control_characters_and_takes_no_markup(tmp_path):
    text = render(usual(tmp_path, 3, tuple(HOSTILE)), "terminal")
    assert "\x1b" not in text
    assert "[bold" in text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("two\nlines\r\n", "two lines  "),
        ("\u202eevil\u202c", "evil"),
        ("👩‍💻 ok", "👩‍💻 ok"),
        ("\udcff", ""),
    ],
)
def test_clean_text_steers_no_terminal(raw, shown):
    assert clean(raw) == shown


# --- Markdown, CSV, JSON


def test_markdown_shows_hostile_labels_as_they_are(tmp_path):
    text = render(usual(tmp_path, 3, tuple(HOSTILE)), "markdown")
    assert "<script" not in text
    assert r"&lt;script>alert(1)&lt;/script> \| \*\*b\*\* \[x\](y)" in text
    assert r"\[bold red\]markup\[/\] \`code\` \$x\$ a_b \_c\_" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {8, 6}


def test_csv_is_tidy_and_plain(tmp_path):
    events = {("SGD", 0): reaching(3, 0.95), ("Adam", 0): curve([0.5] * 10)}
    first, second = csv_rows(render(results(tmp_path, a_suite(seeds=1), events), "csv"))
    wanted = {
        "suite": "digits",
        "workload": "main",
        "horizon": "10 epochs",
        "target": "validation accuracy >= 0.9",
        "optimizer": "SGD",
        "trials": "1",
        "reached": "1",
        "epochs_to_target": "3.0",
        "seconds_to_target": "1.5",
        "metric": "accuracy",
        "estimand": "last",
        "final_metric": "0.95",
        "final_accuracy": "0.95",
        "memory_overhead": "2.0",
    }
    assert {name: first[name] for name in wanted} == wanted
    assert (second["reached"], second["epochs_to_target"], second["seconds_to_target"]) == ("0", "", "")


def test_csv_labels_cannot_be_formulas(tmp_path):
    labels = ("=1+1", "@x", "+y", "-z", "fine")
    text = render(usual(tmp_path, 1, labels), "csv")
    assert [row["optimizer"] for row in csv_rows(text)] == ["'=1+1", "'@x", "'+y", "'-z", "fine"]


def test_csv_numbers_may_be_negative(tmp_path):
    _, second = csv_rows(render(usual(tmp_path, 2, ("better", "worse")[::-1]), "csv"))
    events = {("SGD", seed): reaching(3, 0.95) for seed in range(2)}
    events |= {("Adam", seed): reaching(3, 0.9) for seed in range(2)}
    _, lower = csv_rows(render(results(tmp_path / "lower", a_suite(seeds=2), events), "csv"))
    assert float(second["difference"]) > 0 > float(lower["difference"])


def test_json_is_strict_and_complete(tmp_path):
    events = {("SGD", seed): diverged() for seed in range(2)}
    content = json.loads(
        render(results(tmp_path, a_suite(labels=["SGD"], seeds=2), events), "json"),
        parse_constant=pytest.fail,
    )
    (row,) = content["rows"]
    assert row["epochs_to_target"] is None
    assert row["diverged"] == 2
    assert content["warnings"][0]["kind"] == "seeds"


# --- records


def test_records_are_every_evaluation_as_a_tidy_table(tmp_path):
    found = results(tmp_path, a_suite(labels=["=SGD"], seeds=1), {("=SGD", 0): curve([0.5, 0.7])})
    rows = csv_rows(records(found))
    assert [row["validation_accuracy"] for row in rows] == ["0.5", "0.7"]
    assert rows[0]["optimizer"] == "'=SGD"
    assert [row["step"] for row in json.loads(records(found, "json"))] == [10, 20]


def test_records_of_a_diverged_trial_are_strict_json(tmp_path):
    found = results(tmp_path, a_suite(labels=["SGD"], seeds=1), {("SGD", 0): diverged()})
    rows = json.loads(records(found, "json"), parse_constant=pytest.fail)
    assert rows[0]["train_loss"] is None


def test_records_in_an_unknown_format_are_an_error(tmp_path):
    with pytest.raises(OptbenchError, match="known: csv, json"):
        records(usual(tmp_path), "parquet")


def test_survival_curves_are_reported_in_every_unit_with_their_bands(tmp_path):

    events = {("SGD", seed): reaching(epoch) for seed, epoch in enumerate((2, 4, 4))} | {
        ("Adam", 0): curve([0.1] * 10)
    }
    write(tmp_path, a_suite(seeds=3), events)
    table = pd.read_csv(io.StringIO(records(read([tmp_path]), survival=True)))
    epochs = table[(table["optimizer"] == "SGD") & (table["unit"] == "epochs")]
    assert epochs["time"].tolist() == [2, 4]
    assert epochs["survival"].tolist() == pytest.approx([2 / 3, 0])
    assert 0 < epochs["low"].iloc[0] < 2 / 3 < epochs["high"].iloc[0] < 1
    assert set(table["unit"]) == {"epochs", "steps", "samples", "seconds"}
    assert table.loc[table["optimizer"] == "Adam", "survival"].eq(1).all()


# --- which format a file gets


@pytest.mark.parametrize("ending", [".md", ".csv", ".json", ".txt", ".tex", ".html", ".CSV"])
def test_the_ending_of_a_file_chooses_its_format(ending, tmp_path):
    usual(tmp_path / "results")
    done = optbench("report", "results", "--output", f"t{ending}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"t{ending}\n")
    start = {".md": "#", ".csv": "suite", ".json": "{", ".txt": "\nWhich", ".tex": "%", ".html": "<!"}
    assert (tmp_path / f"t{ending}").read_text().startswith(start[ending.lower()])


@pytest.mark.parametrize("command", ["report results", "compare results other", "records results"])
@pytest.mark.parametrize("ending", [".pdf", ".xlsx", ".docx", ".parquet"])
def test_an_ending_without_a_format_is_refused_and_the_endings_are_listed(command, ending, tmp_path):
    usual(tmp_path / "results")
    usual(tmp_path / "other")
    done = optbench(*command.split(), "--output", f"t{ending}", cwd=tmp_path)
    assert done.returncode == 2
    assert f"no format has the suffix '{ending}'" in done.stderr
    assert ".csv (csv)" in done.stderr
    assert not (tmp_path / f"t{ending}").exists()


def test_records_follow_the_ending_too(tmp_path):
    usual(tmp_path / "results")
    assert optbench("records", "results", "--output", "all.json", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "all.json").read_text())
    done = optbench("records", "results", "--output", "all.md", cwd=tmp_path)
    assert done.returncode == 2
    assert ".csv (csv), .json (json)" in done.stderr


def test_a_folder_named_as_a_file_is_refused(tmp_path):
    usual(tmp_path / "results")
    done = optbench("report", "results", "--save", "report.pdf", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected a folder" in done.stderr
    assert not (tmp_path / "report.pdf").exists()


@pytest.mark.parametrize("command", ["report", "compare", "memory", "steps", "verdicts"])
def test_help_lists_every_format(command, tmp_path):
    said = " ".join(optbench(command, "--help", cwd=tmp_path).stdout.split())
    assert "terminal, csv, html, json, latex or markdown" in said


# --- a part of a report


def test_one_table_and_some_columns_can_be_picked(tmp_path):
    usual(tmp_path / "results")
    asked = ("--format", "markdown", "--table", "target", "--columns", "Final Accuracy,optimizer")
    done = optbench("report", "results", *asked, cwd=tmp_path)
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert tables[0] == "| final accuracy % | optimizer |"
    assert len(tables) == 4


def test_a_caption_in_full_picks_that_table_only(tmp_path):
    usual(tmp_path / "results")
    done = optbench("report", "results", "--table", "No such", cwd=tmp_path)
    assert done.returncode == 2
    name = "Target: validation accuracy >= 0.9"
    assert f"'{name}'" in done.stderr
    done = optbench("report", "results", "--table", name, cwd=tmp_path)
    assert "Difference of the final" not in done.stdout
    assert name in done.stdout


def test_an_unknown_column_names_the_nearest(tmp_path):
    usual(tmp_path / "results")
    done = optbench("report", "results", "--columns", "optimizr", cwd=tmp_path)
    assert done.returncode == 2
    assert "no column 'optimizr'; did you mean 'optimizer'" in done.stderr


@pytest.mark.parametrize("option", [("--table", "target"), ("--columns", "seeds")])
@pytest.mark.parametrize("where", [("--format", "csv"), ("--save", "out"), ("--output", "t.html")])
def test_parts_are_of_formats_that_show_tables(option, where, tmp_path):
    usual(tmp_path / "results")
    done = optbench("report", "results", *option, *where, cwd=tmp_path)
    assert done.returncode == 2
    assert option[0] in done.stderr


# --- numbers


def test_a_number_that_rounds_up_to_a_power_of_ten_is_written_as_that_power():
    assert [number(value) for value in (100.0, 99.97, 99.94)] == ["100", "100", "99.9"]
    assert [number(value) for value in (10.0, 9.998, 1.0, 0.9996)] == ["10.0", "10.0", "1.00", "1.00"]
    assert [seconds(value) for value in (100.0, 99.97, 1.0, 0.997)] == ["100", "100", "1.0", "1.0"]
    assert number(-99.97) == "-100"


def test_one_sign_stands_for_at_least(tmp_path):
    found = usual(tmp_path)
    for format in ("terminal", "markdown", "html"):
        text = render(found, format)
        assert "0.9" in text
        assert not any(sign in text.partition("<script")[0] for sign in "≥≤")


def test_the_page_names_seeds_by_their_numbers(tmp_path):
    events = {("SGD", seed): diverged() if seed < 2 else reaching(3) for seed in range(5)}
    text = render(results(tmp_path, a_suite(labels=("SGD",), seeds=5), events), "html")
    assert "diverged (seeds 0, 1, at fault: optimizer)" in re.sub(r"<[^>]+>", "", text)
