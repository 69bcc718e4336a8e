"""Writes what the documentation can't be trusted to say by hand: the suite reference, the commands, and every command's output.

    python docs/generate.py            # write docs/suite-reference.md, docs/commands.md, and the console blocks of all pages
    python docs/generate.py figures    # draw the figures of the pages from results/, into docs/figures/ (not committed)

A test holds the committed pages to what this would write.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    "Published": "An item of `published:`.",
}
#: what one would really write; for all else the default or a choice says enough
EXAMPLES = {
    "Suite.title": "Which optimizer for handwritten digits?",
    "Suite.description": "Three epochs, to learn how it works.",
    "Suite.workloads": "{digits: {model: mlp, data: digits, batch_size: 64, budget: 5 epochs}}",
    "Suite.workload": "{model: mlp, data: digits, batch_size: 64, budget: 5 epochs}",
    "Suite.optimizers": "{SGD: {use: torch.optim.SGD, lr: 0.1}, Mine: {use: 'my_opt.py:Mine', lr: 1e-3}}",
    "Suite.seeds": "5",
    "Suite.schedule": "{name: cosine, warmup: 5%}",
    "Suite.init": "he_normal",
    "Suite.clip": "{norm: 1}",
    "Suite.ema": "{decay: 0.999}",
    "Suite.no_weight_decay": "[norms, biases]",
    "Suite.baseline": "SGD",
    "Suite.margin": "0.002",
    "Suite.axes": "{workload.batch_size: [32, 128, 512]}",
    "Suite.horizons": "[5 epochs, 10 epochs, 20 epochs]",
    "Suite.sensitivity": "{lr: {log: [1e-4, 1], points: 13}}",
    "Suite.published": "[{source: 'A. Author 2020', optimizer: SGD, values: {memory_overhead: {kind: deterministic, value: 1, unit: x}}}]",
    "Workload.model": "{name: small_cnn, width: 32}",
    "Workload.data": "digits",
    "Workload.batch_size": "64",
    "Workload.budget": "30 epochs",
    "Workload.target": "{metric: accuracy, at_least: 0.97}",
    "Workload.init": "{name: orthogonal, gain: 1.4}",
    "Workload.loss": "{name: cross_entropy, label_smoothing: 0.1}",
    "Workload.metrics": "[accuracy, loss]",
    "Workload.evaluate": "{every: 0.5 epochs}",
    "Workload.augment": "{crop: 4, flip: true}",
    "Workload.accumulate": "4",
    "Workload.study": "[gradients, costs]",
    "Workload.loss_bound": "1e4",
    "Workload.relabel": "{every: 5 epochs}",
    "Optimizer.use": "torch.optim.AdamW",
    "Optimizer.arguments": "{schedule: mine}",
    "Optimizer.schedule": "constant",
    "Optimizer.clip": "{norm: 1}",
    "Optimizer.ema": "{decay: 0.999}",
    "Optimizer.no_weight_decay": "[norms, biases]",
    "Optimizer.batch_size": "256",
    "Optimizer.horizon": "20 epochs",
    "Optimizer.horizons": "[5 epochs, 20 epochs]",
    "Optimizer.closure": "true",
    "Rule.parameters": "matrices",
    "Rule.use": "torch.optim.Muon",
    "Rule.arguments": "{parameters: all}",
    "Component.name": "small_cnn",
    "Component.arguments": "{name: mine}",
    "Schedule.name": "cosine",
    "Schedule.arguments": "{warmup: 3}",
    "Schedule.warmup": "5%",
    "Target.metric": "accuracy",
    "Target.at_least": "0.97",
    "Target.at_most": "0.1",
    "Evaluate.every": "0.5 epochs",
    "Augment.crop": "4",
    "Augment.random_resized_crop": "[0.35, 1]",
    "Clip.norm": "1",
    "Clip.value": "0.5",
    "Ema.decay": "0.999",
    "Grid.factors": "[0.01, 0.1, 1, 10, 100]",
    "Grid.values": "[0.01, 0.1, 1]",
    "Grid.log": "[1e-4, 1]",
    "Grid.points": "13",
    "Published.source": "{text: 'A. Author 2020', url: 'https://example.org'}",
    "Published.optimizer": "SGD",
    "Published.label": "SGD with momentum",
    "Published.scope": "{model: torchvision.models.resnet50, data: imagenet, budget: 90 epochs}",
    "Published.protocol": "three seeds, the mean of the best epochs",
    "Published.values": "{final_metric: {kind: numeric, value: 0.76, unit: fraction, margin: 0.002}}",
    "Claim.kind": "numeric",
    "Claim.over": "SGD",
    "Claim.means": "{at_most: 1.05, because: no state to speak of}",
    "Claim.words": "Low",
    "Claim.margin": "0.002",
    "Claim.value": "0.76",
    "Claims.epochs_to_target": "{kind: numeric, value: 90, unit: epochs, margin: 2.5}",
    "Claims.final_metric": "{kind: numeric, value: 0.76, unit: fraction, margin: 0.002}",
    "Claims.memory_overhead": "{kind: deterministic, value: 2, unit: x}",
    "Claims.sensitivity": "{kind: ladder, level: low}",
    "Means.because": "the next higher rung begins at twice as much",
    "Relabel.every": "5 epochs",
    "Scope.model": "torchvision.models.resnet50",
    "Scope.data": "imagenet",
    "Scope.budget": "90 epochs",
    "Scope.hardware": "NVIDIA A100",
    "Source.text": "A. Author, Title, 2020",
    "Source.url": "https://example.org/paper",
}


def suite_reference() -> str:
    """Every key of a suite: type, default, meaning, example."""
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
    if given := EXAMPLES.get(f"{name}.{key}"):
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
            terminal_width=100,
            max_content_width=100,
        )
        if words:
            yield words, command, context
        for name, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                yield from walk(inner, (*words, name), context)

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
        before = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = "100"
        try:
            with contextlib.redirect_stdout(said):
                app(shlex.split(command)[1:], standalone_mode=False)
        finally:
            os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    lines = [text.rstrip() for text in said.getvalue().strip("\n").splitlines()]
    if pipe:
        lines = lines[: int(pipe.removeprefix("head -"))]
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """What every generated page, and every page with console blocks, should hold."""
    made = {DOCS / "suite-reference.md": suite_reference(), DOCS / "commands.md": commands()}
    for path in sorted(DOCS.glob("*.md")):
        if path not in made and CONSOLE.search(text := path.read_text(encoding="utf-8")):
            made[path] = with_outputs(text)
    return made


def figures() -> None:
    """The figures of the pages, from the committed results."""
    from optbench.cli.app import app

    for name in RESULTS:
        folder = DOCS / "figures" / name
        with contextlib.redirect_stdout(io.StringIO()):
            app(
                ["report", str(ROOT / "results" / name), "--save", str(folder)],
                standalone_mode=False,
            )
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".svg":
                path.unlink()


if __name__ == "__main__":
    if sys.argv[1:] == ["figures"]:
        figures()
    else:
        for path, text in pages().items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                print(path.relative_to(ROOT))
