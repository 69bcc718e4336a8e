"""The documentation tells the truth: commands parse, suites pass the check, generated pages are what would be generated."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml
from jsonschema import Draft202012Validator
from typer.main import get_command

from optbench.catalog.check import examine
from optbench.cli.app import app
from optbench.cli.layout import examples, summary
from optbench.suite.schema import json_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()


@cache
def root() -> Any:
    return get_command(app)


def parsed(line: str) -> None:
    """By the real parser; nothing is run. Raises what typer raises for a line that it does not take."""
    words = shlex.split(re.split(r" [|>] | && ", line)[0])
    command = root()
    # resilient: `--install-completion` would write into the home folder
    context = command.make_context(words[0], words[1:], resilient_parsing=True)
    while hasattr(command, "commands") and (rest := [*context._protected_args, *context.args]):
        name, command, arguments = command.resolve_command(context, rest)
        assert command is not None, f"no command '{name}'"
        try:
            context = command.make_context(name, arguments, parent=context)
        except typer.Exit:  # of --help
            return


@cache
def all_commands() -> list[tuple[tuple[str, ...], Any]]:
    return [
        (words, command) for words, command, _ in generate.each_command() if not hasattr(command, "commands")
    ]


def all_examples() -> list[str]:
    return [line for _, command in all_commands() for line in examples(command.help or "")]


def lines_of(page: Path) -> Iterator[str]:
    """Every command line of optbench in a page's blocks."""
    for language, block in re.findall(
        r"```(bash|sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.S
    ):
        for line in block.replace("\\\n", " ").splitlines():
            if language == "console" and not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ").partition(" #")[0].strip()
            if line.startswith("optbench "):
                yield line


@pytest.mark.parametrize("line", all_examples())
def test_every_example_in_help_parses(line: str) -> None:
    parsed(line)


@pytest.mark.parametrize("words", [words for words, _ in all_commands()], ids=" ".join)
def test_every_command_has_examples_exit_codes_and_a_summary_of_one_line(words: tuple[str, ...]) -> None:
    command = dict(all_commands())[words]
    text = command.help or ""
    assert examples(text), "an 'Examples:' block is missing"
    assert all(line.startswith(f"optbench {' '.join(words)}") for line in examples(text))
    assert "\nExit codes:\n" in text
    assert 10 < len(summary(text)) <= 80


@cache
def help_pages() -> dict[tuple[str, ...], str]:
    return {words: context.get_help() for words, _, context in generate.each_command()}


@pytest.mark.parametrize("words", [words for words, _ in all_commands()], ids=" ".join)
def test_help_shows_no_types_and_cuts_nothing_off(words: tuple[str, ...]) -> None:
    page = help_pages()[words]
    assert not re.search(
        r"<(str|int|float|bool|path|choice|list)\b|\blist\[|\.\.\.$|--[a-z-]+ VALUE", page, flags=re.M
    ), page


@pytest.mark.parametrize(
    "line",
    [
        e
        for e in all_examples()
        if re.match(r"optbench (list models|schema$|check digits$|report.*markdown)", e)
    ],
)
def test_cheap_examples_run(line: str) -> None:
    assert generate.output(line).strip()


def test_every_file_of_a_command_is_listed_with_its_docstring() -> None:
    listed = root().commands
    files = (ROOT / "src" / "optbench" / "cli" / "commands").glob("[!_]*.py")
    modules = [importlib.import_module(f"optbench.cli.commands.{file.stem}") for file in files]
    assert {module.__name__.rpartition(".")[2].removesuffix("_") for module in modules} == set(listed)
    assert {module.__doc__ for module in modules} == {command.help for command in listed.values()}
    places = [module.PLACE for module in modules]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_a_page_parses(page: Path) -> None:
    for line in lines_of(page):
        try:
            parsed(line)
        except Exception as error:
            pytest.fail(f"{page.name}: {line}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_suite_in_a_page_passes_the_check_or_is_called_a_fragment(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(# \w+\.py\n.*?)```", text, re.S):
        (tmp_path / block.split()[1]).write_text(block)
    for marker, block in re.findall(r"(<!-- fragment -->\n)?```yaml\n(.*?)```", text, re.S):
        if marker:
            assert list(yaml.safe_load_all(block))
            continue
        (tmp_path / "s.yaml").write_text(block)
        assert examine(tmp_path / "s.yaml", (), None, tmp_path)[1] == [], block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target or path.startswith("figures/"):
            continue
        there = (page.parent / path) if path else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}
            own = set(re.findall(r"\{ #([\w-]+) \}", there.read_text(encoding="utf-8")))
            assert anchor in slugs | own, target


def test_generated_pages_are_as_committed() -> None:
    made = generate.pages()
    assert {path.name for path in made} >= {"suite-reference.md", "commands.md", "tutorial.md"}
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run: make docs-pages"


def test_every_key_of_the_schema_has_a_meaning_and_an_example_that_the_schema_takes() -> None:
    schema = json_schema()
    for name, shape in {"Suite": schema, **schema["$defs"]}.items():
        properties, _ = generate._properties(shape)
        for key, field in properties.items():
            told = field.get("description") or "$ref" in field
            assert told, f"{name}.{key} has no description"
            example = generate.example(name, key, field)
            assert example != "...", f"{name}.{key} has no example in docs/examples.yaml"
            # PyYAML reads YAML 1.1, where 1e-4 is text
            mended = re.sub(r"(?<![\w.])(\d+e-?\d+)", lambda m: f"{float(m[1]):.10f}", example)
            value = yaml.safe_load(mended)
            wrong = list(Draft202012Validator({**field, "$defs": schema["$defs"]}).iter_errors(value))
            assert not wrong, f"{name}.{key}: {example}: {wrong[0].message}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    subprocess.run([sys.executable, "docs/generate.py", "figures"], cwd=ROOT, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = "".join(page.read_text(encoding="utf-8") for page in (tmp_path / "site").glob("*.html"))
    assert not re.search(r'(src|href)="https?://(fonts|cdn|unpkg)', pages)
