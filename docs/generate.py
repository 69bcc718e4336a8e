"""Writes what the documentation can't be trusted to say by hand: the suite reference, the commands, and every command's output.

    python docs/generate.py            # write docs/suite-reference.md, docs/commands.md, the table of docs/speed.md, and the
                                       # console blocks of all pages
    python docs/generate.py figures    # draw the figures of the pages from results/, into docs/figures/ (not committed)
    python docs/generate.py claims     # draw the figures of docs/claims.md from results/claims, into docs/figures/claims (committed)

A test holds the committed pages to what this would write.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
#: pages with figures take them from these
RESULTS = ("digits", "fashion_mnist")

SECTIONS = {
    "Suite": "The top level of the file.",
    "Workload": "Under `workload:`, or under each name in `workloads:`.",
    "Optimizer": "Under each label in `optimizers:`.",
    "Rule": "An item of `use:` where an entry has a list of them.",
    "Component": "A model, a data set, a loss, an initialisation.",
    "Schedule": "",
    "Target": "",
    "Evaluate": "",
    "Augment": "",
    "Clip": "",
    "Ema": "",
    "Grid": "Under each hyperparameter in `sensitivity:`.",
    "Duration": "",
    "Part": "",
    "Tuning": "Under `tuning:`; the search spaces are values of arguments in `optimizers:`.",
    "Published": "An item of `published:`.",
    "ClaimTest": "An item of `tests:` of a published statement.",
}
#: what one would really write, by section and key
EXAMPLES: dict[str, dict[str, str]] = yaml.safe_load((DOCS / "examples.yaml").read_text(encoding="utf-8"))


def suite_reference() -> str:
    """Every key of a suite: type, default, meaning, example."""
    from optbench.suite.quantities import QUANTITIES
    from optbench.suite.schema import json_schema

    schema = json_schema()
    shapes = {"Suite": schema, **schema["$defs"]}
    names = [*SECTIONS, *(name for name in shapes if name not in SECTIONS)]
    parts = [
        "# Suite reference\n\n<!-- Written by docs/generate.py from the schema. -->\n",
        "Every key that a suite file may have. `optbench schema > suite.schema.json` gives the same to an editor, which then completes "
        "and underlines. Keys of a model, data set, schedule or optimizer that are not listed are its own arguments "
        "(`optbench list models` shows them); any other unknown key is an error, with the nearest known one.\n",
    ]
    parts += [_section(name, shapes[name]) for name in names if name in shapes]
    parts += [
        "## Quantities of statements\n",
        "Names for `quantity:` of a test, besides the metrics `validation.NAME` and `test.NAME`.\n",
    ]
    parts += [
        "| quantity | meaning |\n| :-- | :-- |",
        *(f"| `{name}` | {meaning} |" for name, meaning in QUANTITIES.items()),
        "",
    ]
    return "\n".join(parts)


def _section(name: str, shape: dict[str, Any]) -> str:
    where = SECTIONS.get(name, "")
    text = " ".join((shape.get("description") or "").split())
    lines = [f"## {name}\n", *([where + "\n"] if where else []), *([text + "\n"] if text else [])]
    properties, required = _properties(shape)
    if not properties:
        return "\n".join(lines)
    for key, field in properties.items():
        meaning = " ".join((field.get("description") or "").split())
        default = "required" if key in required else _default(field)
        if name == "Suite" and key in ("workload", "workloads"):
            default = "one of the two is required"
        lines.append(f"### `{key}` {{ #{name.lower()}-{key} }}\n")
        lines.append(f"{meaning}\n" if meaning else "")
        lines.append(f"{_type(field)}; {default}. Example: `{key}: {example(name, key, field)}`\n")
    return "\n".join(lines)


def _default(field: dict[str, Any]) -> str:
    written = _yaml(field.get("default"))
    return f"default `{written}`" if written not in ("off", '""', "{}", "[]") else "not given by default"


def _properties(shape: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Of a mapping, or of the mapping among several forms. Durations are told in words."""
    if "properties" in shape:
        return shape["properties"], shape.get("required", [])
    forms = [form for form in shape.get("anyOf", ()) if len(form.get("properties", ())) > 1]
    return (forms[0]["properties"], forms[0].get("required", [])) if forms else ({}, [])


def example(name: str, key: str, field: dict[str, Any]) -> str:
    """As one would write it: given here, or another choice than the default."""
    if given := EXAMPLES.get(name, {}).get(key):
        return given
    if name == "Claims":
        return "{kind: ordering, over: SGD}"
    choices = field.get("enum") or next((f["enum"] for f in field.get("anyOf", ()) if "enum" in f), None)
    if choices:
        return str(next(choice for choice in choices if choice != field.get("default")))
    kind = {field.get("type"), *(form.get("type") for form in field.get("anyOf", ()))}
    if "boolean" in kind:
        return "true"
    if "default" in field and field["default"] not in (None, "", [], {}):
        return _yaml(field["default"])
    return "1" if kind & {"integer", "number"} else "..."


def _type(field: dict[str, Any]) -> str:
    words = _words(field)
    return words[:1].upper() + words[1:]


def _words(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return "one of " + ", ".join(f"`{choice}`" for choice in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_words(form) for form in field["anyOf"] if form != {"type": "null"}))
    kind = field.get("type")
    if kind == "array":
        inside = field.get("prefixItems")
        if inside:
            return f"list of {len(inside)}: {_words(inside[0])}"
        return f"list of {_words(field['items'])}" if field.get("items") else "list"
    if kind == "object":
        inner = field.get("additionalProperties")
        return f"mapping of name to {_words(inner)}" if isinstance(inner, dict) and inner else "mapping"
    if kind in ("integer", "number"):
        return {"integer": "whole number", "number": "number"}[kind] + _limits(field)
    return {"boolean": "true or false", "string": "text"}.get(
        str(kind), "text" if isinstance(kind, list) else "anything"
    )


def _limits(field: dict[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    return " and".join(f" {word} {field[key]:,}" for key, word in words.items() if key in field)


def _yaml(value: Any) -> str:
    from optbench.catalog.starter import flow

    if isinstance(value, dict):
        if set(value) == {"value", "unit"}:
            return f"{value['value']:g} {value['unit']}"
        value = {k: v for k, v in value.items() if v not in (None, {}, "")}
        return str(value["name"]) if list(value) in (["name"], ["name", "per"]) else flow(value)
    return "off" if value is None else flow(value)


def commands() -> str:
    """The manual page of every command, under the headings of `optbench --help`."""
    from optbench.cli.layout import summary

    parts = [
        "# Commands\n\n<!-- Written by docs/generate.py from --help. -->\n",
        "Each page is what `optbench COMMAND --help` prints. Shell completion is switched on with `optbench --install-completion`.\n",
    ]
    heading = None
    for words, command, context in each_command():
        if command.rich_help_panel != heading and len(words) == 1:
            heading = command.rich_help_panel
            parts.append(f"## {heading}\n")
        title = f"optbench {' '.join(words)}"
        parts.append(f"### {title}\n\n{summary(command.help or '')}.\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


def each_command() -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Words, command and context of every command that can be run, in the order of `--help`."""
    from typer.main import get_command

    from optbench.cli.app import app

    def walk(command: Any, words: tuple[str, ...], parent: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
        context = command.context_class(
            command,
            info_name=words[-1] if words else "optbench",
            parent=parent,
            terminal_width=80,
            max_content_width=80,
        )
        if words:
            yield words, command, context
        for name in getattr(command, "commands", ()):
            yield from walk(command.get_command(context, name), (*words, name), context)

    yield from walk(get_command(app), (), None)


CONSOLE = re.compile(r"(```console\n\$ )(optbench [^\n]*)\n(.*?)(```)", flags=re.DOTALL)


def with_outputs(page: str) -> str:
    """The page, with what its console commands print now, over the committed results."""
    return CONSOLE.sub(lambda m: f"{m[1]}{m[2]}\n{output(m[2])}{m[4]}", page)


def output(line: str) -> str:
    """What a command prints, run in a folder that has the shipped suites and results. `| head -N` may follow."""
    from optbench.cli.app import app

    command, _, pipe = line.partition(" | ")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in ("suites", "results"):
            os.symlink(ROOT / name, name)
        said = io.StringIO()
        before = os.environ.pop("COLUMNS", None)
        if command.startswith("optbench list"):
            os.environ["COLUMNS"] = "100"
        try:
            with contextlib.redirect_stdout(said):
                app(shlex.split(command)[1:], standalone_mode=False)
        finally:
            os.environ.pop("COLUMNS", None) if before is None else os.environ.update(COLUMNS=before)
    lines = [text.rstrip() for text in said.getvalue().strip("\n").splitlines()]
    if pipe:
        lines = lines[: int(pipe.removeprefix("head -"))]
    return "\n".join(lines) + "\n"


MEASURED = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def with_measurements(page: str) -> str:
    """The page, with the committed table of what `make bench` found."""
    _, _, table = (ROOT / "results" / "bench" / "bench.md").read_text(encoding="utf-8").partition("\n\n")
    return MEASURED.sub(lambda m: f"{m[1]}{table}{m[2]}", page)


ZOO = re.compile(r"(<!-- zoo -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def with_ranking(page: str, file: Path) -> str:
    """The page, with the committed ranking of the zoo and what it shows; unchanged if none is committed."""
    if not file.is_file():
        return page
    rows, studies, trained = (_csv(file.with_name(f"{name}.csv")) for name in ("ranking", "tuning", "report"))
    head = [
        "group",
        "optimizer",
        "family",
        "mean rank",
        "places",
        "untuned rank",
        "state",
        "step cost",
        "failed",
    ]
    table = [f"| {' | '.join(head)} |", f"| --: | :-- | :-- |{' --: |' * (len(head) - 3)}"]
    for row in rows:
        lost = f" (not on {row['not_trained']})" if row["not_trained"] else ""
        cells = [
            row["group"],
            f"{row['optimizer']}{lost}",
            row["family"],
            f"{float(row['mean_rank']):.1f} ({float(row['mean_rank_low']):.1f}–{float(row['mean_rank_high']):.1f})",
            f"{float(row['place_low']):.0f}–{float(row['place_high']):.0f}",
            f"{float(row['untuned_rank']):.1f}" if row["untuned_rank"] else "–",
            f"{float(row['state']):.2f}x" if row["state"] else "–",
            f"{float(row['step_cost']):.2f}x" if row["step_cost"] else "–",
            f"{100 * float(row['worst']):.0f} %" if row["worst"] else "–",
        ]
        table.append(f"| {' | '.join(cells)} |")
    notes = (
        "Group: entries whose mean rank does not differ significantly from that of the group's first (5 %, Bonferroni); the order within a "
        "group has no meaning. Mean rank over the workloads and places in the table: 95 % bands over seeds. Untuned rank: of one random "
        "learning rate from the space. State: bytes of state over bytes of parameters. Step cost: CPU time of a training step over that "
        "of torch.optim.AdamW. Failed: share of all trials that diverged or failed."
    )
    content = "\n".join(table)
    return ZOO.sub(
        lambda m: f"{m[1]}{_summary(rows, studies, trained)}\n\n{content}\n\n{notes}\n{m[2]}", page
    )


def _csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _summary(
    rows: Sequence[Mapping[str, str]],
    studies: Sequence[Mapping[str, str]],
    trained: Sequence[Mapping[str, str]],
) -> str:
    """What was run and what the ranking shows, as a list: first group, known optimizers, the effect of tuning, ends of search spaces."""
    first = [row for row in rows if row["group"] == "1"]
    families = {row["family"] for row in first}
    by_name = {row["optimizer"]: row for row in rows}
    known = ("torch.optim.Adam", "torch.optim.AdamW", "SGD with momentum", "torch.optim.SGD")
    places = [
        f"{name} {float(row['place_low']):.0f} to {float(row['place_high']):.0f} (group {row['group']})"
        for name in known
        if (row := by_name.get(name))
    ]
    untuned = sorted((row for row in rows if row["untuned_rank"]), key=lambda row: float(row["untuned_rank"]))
    names, tuned = zip(
        *((row["optimizer"], f"{float(row['mean_rank']):.1f}") for row in untuned[:3]), strict=True
    )
    ends = [sum(study["edge"].startswith(end) for study in studies) for end in ("upper", "lower")]
    sizes, steps, seeds = (
        _range(row[column] for row in trained) for column in ("parameters", "steps_budget", "planned")
    )
    return "\n".join(
        [
            f"- {len(rows)} classes, {len({study['workload'] for study in studies})} problems, {studies[0]['trials']} tuning trials per "
            f"class and problem, {seeds} fresh seeds for the selected learning rate. The models have {sizes} parameters and are trained "
            f"for {steps} steps.",
            f"- The mean ranks of {len(first)} of {len(rows)} classes, of {len(families)} families, do not differ significantly from "
            f"the best, {rows[0]['optimizer']}.",
            f"- Places of well-known optimizers: {', '.join(places)}.",
            f"- With one random learning rate instead of the best of {studies[0]['trials']}, {_listed(names)} have the best expected mean "
            f"ranks; tuned, their mean ranks are {_listed(tuned)}.",
            f"- In {ends[0]} of {len(studies)} tunings the selected rate is at the upper end of its space, in {ends[1]} at the lower end: "
            "these classes may do better with other rates.",
        ]
    )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _range(cells: Iterable[str]) -> str:
    """Return the range of numbers in cells of a CSV file, as in "1,048 to 15,936"."""
    numbers = {float(cell) for cell in cells if cell}
    return " to ".join(f"{number:,.0f}" for number in sorted({min(numbers), max(numbers)}))


def claims_page() -> Any:
    """The module that writes docs/claims.md."""
    sys.path.insert(0, str(DOCS))
    try:
        import claims_page
    finally:
        sys.path.remove(str(DOCS))
    return claims_page


def pages() -> dict[Path, str]:
    """What every generated page, and every page with console blocks, should hold."""
    made = {DOCS / "suite-reference.md": suite_reference(), DOCS / "commands.md": commands()}
    speed = DOCS / "speed.md"
    made[speed] = with_measurements(speed.read_text(encoding="utf-8"))
    which = DOCS / "which-optimizer.md"
    made[which] = with_ranking(which.read_text(encoding="utf-8"), ROOT / "results" / "zoo" / "ranking.csv")
    made[DOCS / "claims.md"] = claims_page().page()
    for path in sorted(DOCS.glob("*.md")):
        if path not in made and CONSOLE.search(text := path.read_text(encoding="utf-8")):
            made[path] = with_outputs(text)
    return made


def figures() -> None:
    """The figures of the pages, from the committed results."""
    from optbench.report.build import build
    from optbench.report.figures import file_drawings, rendered
    from optbench.store import read

    for name in RESULTS:
        results = read([ROOT / "results" / name])
        report = build(results)
        folder = DOCS / "figures" / name / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        for drawing in file_drawings(results, report.table, report.more.get("verdicts")):
            (folder / f"{drawing.name}.svg").write_bytes(rendered(drawing, formats=("svg",))["svg"])


if __name__ == "__main__":
    if sys.argv[1:] == ["figures"]:
        figures()
    elif sys.argv[1:] == ["claims"]:
        claims_page().draw_figures()
    else:
        for path, text in pages().items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                print(path.relative_to(ROOT))
