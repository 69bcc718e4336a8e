"""Writes docs/claims.md: what the article says, and the verdict of each claim, from suites/claims and results/claims."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULTS = ROOT / "results" / "claims"
FIGURES = DOCS / "figures" / "claims"
HEAD = """\
# What the article says, tested

<!-- Written by docs/generate.py from docs/claims.yaml, suites/claims and results/claims. -->

An introductory article on gradient descent makes 41 claims about optimizers, in two tables and in its advice. Each was turned into an
experiment with small models on two CPU cores. Metric, margin, number of seeds and condition were written down before it ran. This page has
the verdicts.
"""
READING = """\
## How to read the verdicts

- **reproduced**: the whole 95 % interval agrees with the claim. **contradicted**: the whole interval disagrees.
- **no difference**: the claim is an order ("A is better than B"), and the interval lies within the margin around 0.
- **inconclusive**: the interval contains values on both sides. More seeds could decide.
- **partly ...**: some conditions have this verdict, and all others are inconclusive.
- **depends**: the conditions, or two measures, have different verdicts. The row says which.
- **not tested here**: needs hardware or data that this project does not have. **not testable as stated**: names no effect that could be
  measured.

Numbers are means over seeds with a 95 % interval. Where two settings are compared, the number is their difference, paired by seed ("points"
are percentage points), or their ratio (2x). A verdict holds for the models and data of its suite. Where optimizers were tuned, each
seed has the settings of its own tuning study, so that intervals include the variation of tuning; P17 and V8-nonstationary have one
study, and their intervals cover the seeds only. Where the article measured ResNet-50 on ImageNet, small models stand in for it: they
test an order, never its numbers. [How each number is defined](numbers.md) has the rules.

`optbench run claims --threads 1` repeats all claims in under an hour. The command in each row repeats one.
"""
WORDS = (
    "reproduced",
    "partly reproduced",
    "contradicted",
    "partly contradicted",
    "no difference",
    "partly no difference",
    "inconclusive",
    "depends",
    "not tested here",
    "not testable as stated",
)
#: parts of reasons that the verdict and the interval show
_EVIDENT = (
    "the interval",
    "valid for this workload only",
    "this workload uses",
    "interpretation:",
    "no interval",
)
#: measures of sensitivity: condition, and what is measured
_MEASURES = {
    "basin_width": ("width of the range", "range of learning rates within one point of the best accuracy"),
    "rate_sensitivity": ("accuracy lost", "accuracy lost on average over three decades of learning rates"),
}


def index() -> dict[str, Any]:
    """Return the content of docs/claims.yaml."""
    content: dict[str, Any] = yaml.safe_load((DOCS / "claims.yaml").read_text(encoding="utf-8"))
    return content


def claims(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the claims of docs/claims.yaml by id, in the order of the article."""
    return {claim: facts for part in content["parts"].values() for claim, facts in part.items()}


def suites() -> dict[str, list[Path]]:
    """Return the suites of each claim, by the ids in their published rows and in their names."""
    from optbench.suite.find import find_all

    found: dict[str, list[Path]] = {}
    for path in find_all(ROOT / "suites" / "claims")[1]:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["published"]  # every suite has some
        own = [path.stem.partition("-")[0], *(row["id"] for row in rows if "id" in row)]
        for claim in dict.fromkeys(own):
            found.setdefault(claim, []).append(path)
    return found


def verdicts(results: Path = RESULTS) -> dict[str, list[dict[str, Any]]]:
    """Return the judged tests of each claim, in the order of the suites; empty before anything was measured.

    Each has condition, quantity, measured and claimed (texts), verdict, reason.
    """
    if not results.is_dir():
        return {}
    from optbench.analysis.published import verdicts_frame
    from optbench.analysis.statements import statements_frame
    from optbench.report.statements import conditions, measured_text, measurement
    from optbench.store import read

    stored = read([results])
    found: dict[str, list[dict[str, Any]]] = {}
    for claim, own in statements_frame(stored).groupby("claim", sort=False):
        for condition, row in zip(conditions(own), own.to_dict("records"), strict=True):
            texts = {
                "quantity": measurement(row)[0],
                "measured": measured_text(row),
                "claimed": _claimed(row),
            }
            found.setdefault(str(claim), []).append({**row, **texts, "condition": condition})
    for row in verdicts_frame(stored).to_dict("records"):
        found.setdefault(str(row["suite"]).partition("-")[0], []).append({**row, **_published(row)})
    return found


def _claimed(row: Mapping[Any, Any]) -> str:
    """Return what is claimed of the measured number; of a difference, its sign or its size."""
    from optbench.report.statements import expected_text
    from optbench.report.text import amount

    if row["measurement"] == "largest difference of a seed":
        return f"at most {amount(row['margin'], row['unit'])}"
    if row["comparison"] == "same_as":
        return f"0 ± {amount(row['margin'], row['unit'])}"
    return f"{row['comparison']} 0" if row["comparison"] in ("above", "below") else expected_text(row)


def _published(row: Mapping[Any, Any]) -> dict[str, str]:
    """Return the texts of a cell of a table: a level of sensitivity."""
    from optbench.report.text import amount

    unit = "points" if row["measure"] == "rate_sensitivity" else "decades"
    measure, quantity = _MEASURES[row["measure"]]
    return {
        "condition": f"{row['optimizer']}, {measure}",
        "quantity": quantity,
        "measured": amount(row["measured"], unit, row["measured_low"], row["measured_high"]),
        "claimed": row["published"],
    }


def page(results: Path = RESULTS) -> str:
    """Return docs/claims.md."""
    judged, of_claim, content = verdicts(results), suites(), index()
    lines = [HEAD]
    if judged:
        lines += [*_sentences(content, judged), count(content, judged), ""]
    else:
        lines.append("The suites have not been run for this version: no verdict is stated.\n")
    lines += [READING, "## All claims\n"]
    for part, facts in content["parts"].items():
        lines += [
            f"**{part}**\n",
            "| claim | verdict | decisive number | condition of this number | figure | repeat with |",
            "| :-- | :-- | :-- | :-- | :-- | :-- |",
            *(_row(claim, facts[claim], judged.get(claim, []), of_claim.get(claim, [])) for claim in facts),
            "",
        ]
    for part, facts in content["parts"].items():
        lines.append(f"## {part}\n")
        for claim in facts:
            lines += _section(claim, facts[claim], judged.get(claim, []), of_claim.get(claim, []))
    return "\n".join(lines).rstrip() + "\n"


def outdated(content: Mapping[str, Any], judged: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Return what docs/claims.yaml says in words that the verdicts do not support; [] if there are no results."""
    if not judged:
        return []
    problems = []
    for claim, facts in claims(content).items():
        found = [test["verdict"] for test in judged.get(claim, [])]
        if "verdict" not in facts and found and found != facts["verdicts"]:
            problems.append(
                f"{claim}: 'short' is written for the verdicts {facts['verdicts']}; the results say {found}"
            )
        if "verdict" not in facts and found and not _shown(facts, judged[claim]):
            conditions = "; ".join(test["condition"] for test in judged[claim])
            problems.append(f"{claim}: no condition '{facts['shows']}'; expected one of {conditions}")
    for number, sentence in enumerate(content["sentences"], start=1):
        problems += [f"sentence {number}: {problem}" for problem in _unsupported(sentence, content, judged)]
    return problems


def _unsupported(
    sentence: Mapping[str, Any], content: Mapping[str, Any], judged: Mapping[str, list[dict[str, Any]]]
) -> Iterator[str]:
    for claim, basis in sentence["rests_on"].items():
        if isinstance(basis, str):
            word = _word(claims(content)[claim], judged.get(claim, []))
            if word != basis:
                yield f"rests on {claim} being {basis}; the results say {word}"
            continue
        found = {test["condition"]: test["verdict"] for test in judged.get(claim, [])}
        for condition, verdict in basis.items():
            if found.get(condition) != verdict:
                says = found.get(condition) or f"no such condition; expected one of {'; '.join(found)}"
                yield f"rests on {claim} ({condition}) being {verdict}; the results say {says}"


def _sentences(content: Mapping[str, Any], judged: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the section at the top of the page. A sentence that the verdicts do not support is left out, and its place says so."""
    yield "## In five sentences\n"
    for number, sentence in enumerate(content["sentences"], start=1):
        links = ", ".join(f"[{claim}](#{claim.lower()})" for claim in sentence["rests_on"])
        is_supported = not any(_unsupported(sentence, content, judged))
        says = (
            sentence["says"].strip()
            if is_supported
            else "These results do not support the sentence that stood here:"
        )
        yield f"{number}. {says} ({links})"
    yield ""


def count(content: Mapping[str, Any], judged: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return the sentence with the number of claims of each verdict."""
    words = Counter(_word(facts, judged.get(claim, [])) for claim, facts in claims(content).items())
    says = {"depends": "depend on the condition or the measure"}
    known = [word for word in (*WORDS, "not measured yet") if words[word]]
    parts = [f"{words[word]} {says.get(word, word)}" for word in known]
    return f"Of the {sum(words.values())} claims: {', '.join(parts)}."


def _word(facts: Mapping[str, Any], tests: list[dict[str, Any]]) -> str:
    return str(facts.get("verdict") or overall([test["verdict"] for test in tests]))


def overall(words: list[str]) -> str:
    """Return the verdict of a claim from those of its tests: their common word (`partly` if some are inconclusive), or `depends`."""
    tested = [word for word in words if word != "not tested here"]
    decided = [word for word in dict.fromkeys(tested) if word != "inconclusive"]
    if not tested:
        return words[0] if words else "not measured yet"
    if len(decided) > 1:
        return "depends"
    return f"{'partly ' if decided and 'inconclusive' in tested else ''}{(decided or tested)[0]}"


def _shown(facts: Mapping[str, Any], tests: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((test for test in tests if test["condition"] == facts["shows"]), None)


def _short(facts: Mapping[str, Any], tests: list[dict[str, Any]]) -> str:
    """Return the verdict in a few words, as written if it is up to date, else the number of conditions by verdict."""
    found = [test["verdict"] for test in tests]
    if "verdict" in facts or found == facts["verdicts"]:
        return str(facts.get("short", ""))
    counts = Counter(found)
    parts = [f"{counts[word]} {word}" for word in WORDS if counts[word]]
    return ", ".join(parts) if len(parts) > 1 else ""


def _row(claim: str, facts: Mapping[str, Any], tests: list[dict[str, Any]], paths: list[Path]) -> str:
    word, short = _word(facts, tests), _short(facts, tests)
    shown = _shown(facts, tests) if tests else None
    figures = figure_names(paths)
    cells = (
        f"[{claim}](#{claim.lower()}) {facts['says']}",
        f"**{word}**{': ' if short else ''}{short}",
        (shown["measured"] if shown else "") or "–",
        (f"{shown['condition']} ({shown['quantity']})" if shown else "") or "–",
        "<br>".join(f"[figure]({figure})" for figure in figures) or "–",
        "<br>".join(_commands(facts, paths)),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _commands(facts: Mapping[str, Any], paths: list[Path]) -> list[str]:
    """Return the commands that repeat a claim, and which of them have no committed results."""
    own = [
        f"`optbench run suites/claims/{path.name}`{'' if (RESULTS / path.stem).is_dir() else ' (not measured yet)'}"
        for path in paths
    ]
    return own or [f"`{facts['command']}`"]


def _section(
    claim: str, facts: Mapping[str, Any], tests: list[dict[str, Any]], paths: list[Path]
) -> Iterator[str]:
    """Yield the details of a claim: its conditions in a table, notes, the figure and the command."""
    yield f"### {claim}: {facts['says']} {{ #{claim.lower()} }}\n"
    short = _short(facts, tests)
    yield (
        f"**{_word(facts, tests)}**{': ' if short else ''}{short}. {facts.get('note', '').strip()}".strip()
        + "\n"
    )
    if tests:
        quantities = list(dict.fromkeys(test["quantity"] for test in tests))
        several = len(quantities) > 1
        if not several:
            yield f"Measured: {quantities[0]}.\n"
        yield f"| condition |{' measured quantity |' if several else ''} measured (95 % interval) | claimed | verdict |"
        yield f"| :-- |{' :-- |' if several else ''} :-- | :-- | :-- |"
        notes = list(dict.fromkeys(filter(None, map(_note, tests))))
        for test in tests:
            note = f" ({notes.index(_note(test)) + 1})" if _note(test) else ""
            cells = [test["condition"], *([test["quantity"]] if several else [])]
            cells += [test["measured"], test["claimed"], test["verdict"] + note]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""
        if notes:
            yield " ".join(f"({number}) {note}." for number, note in enumerate(notes, start=1)) + "\n"
    for figure in figure_names(paths):
        yield f"![{claim}: {facts['says']}]({figure}){{ loading=lazy }}\n"
    yield f"Repeat with {' and '.join(_commands(facts, paths))}.\n"


def _note(test: Mapping[str, Any]) -> str:
    """Return the part of a verdict's reason that its interval does not show."""
    parts = [part for part in test["reason"].split("; ") if part and not part.startswith(_EVIDENT)]
    text = "; ".join(dict.fromkeys(parts))
    return re.sub(r"(\w+)=", lambda found: f"{found[1].replace('_', ' ')} ", text)


def figure_names(paths: list[Path]) -> list[str]:
    """Return the committed figures of suites, relative to docs/."""
    return [f"figures/claims/{path.stem}.svg" for path in paths if (FIGURES / f"{path.stem}.svg").is_file()]


def draw_figures(results: Path = RESULTS, names: Sequence[str] = ()) -> None:
    """Draw one figure per suite (all, or `names`) into docs/figures/claims: its tests, or the kind of figure that the claim states."""
    import pandas as pd

    from optbench.report.figures import rendered
    from optbench.report.figures._groups import Material
    from optbench.store import read

    kinds = {claim: facts.get("figure", "statements") for claim, facts in claims(index()).items()}
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in names or dict.fromkeys(path.stem for paths in suites().values() for path in paths):
        module = import_module(f"optbench.report.figures.{kinds[name.partition('-')[0]]}")
        drawn = next(module.drawings(Material(read([results / name]), pd.DataFrame(), None)), None)
        if drawn is not None:
            (FIGURES / f"{name}.svg").write_bytes(rendered(drawn, formats=("svg",))["svg"])
