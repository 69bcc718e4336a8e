"""Writes docs/claims.md: what the article says, and the verdict of each claim, from suites/claims and results/claims."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULTS = ROOT / "results" / "claims"
INTRODUCTION = """\
An introductory article on gradient descent makes 41 claims: in a table for ResNet-50 on ImageNet, in a table of the variants of
gradient descent, and in its advice. Each claim has a suite in `suites/claims/` that decides it on two CPU cores; its metric, margin,
number of seeds and condition were written before it ran. A verdict holds for the models and data of its suite. Where the source
measured something else, the verdict is that of a proxy: it tests an order, never the published numbers.

`optbench run claims --threads 1` repeats all of them; the command in a row repeats one. Numbers are means with a 95 % interval, of paired
differences or ratios where two settings are compared. [How each number is defined](numbers.md) has the rules of the verdicts.
"""
WORDS = (
    "reproduced",
    "contradicted",
    "no difference",
    "inconclusive",
    "not tested here",
    "not testable as stated",
)
#: figures that show the tests of a claim, the first that exists
FIGURES = ("statements", "published", "sensitivity", "survival", "curves", "finals", "time", "memory")


def index() -> dict[str, Any]:
    """Return the content of docs/claims.yaml."""
    content: dict[str, Any] = yaml.safe_load((DOCS / "claims.yaml").read_text(encoding="utf-8"))
    return content


def suites() -> dict[str, list[Path]]:
    """Return the suites of each claim, by the ids in their published rows and in their names."""
    from optbench.suite.find import find_all

    found: dict[str, list[Path]] = {}
    for path in find_all(ROOT / "suites" / "claims")[1]:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["published"]  # every suite has some
        for claim in dict.fromkeys(
            [path.stem.partition("-")[0], *(row["id"] for row in rows if "id" in row)]
        ):
            found.setdefault(claim, []).append(path)
    return found


def verdicts(results: Path = RESULTS) -> dict[str, list[dict[str, Any]]]:
    """Return the judged tests of each claim, in the order of the suites; empty before anything was measured.

    Each has suite, when (condition), verdict, result (text), reason.
    """
    if not results.is_dir():
        return {}
    from optbench.analysis.published import verdicts_frame
    from optbench.analysis.statements import statements_frame
    from optbench.report.statements import measured_text
    from optbench.store import read

    stored = read([results])
    found: dict[str, list[dict[str, Any]]] = {}
    statements = statements_frame(stored)
    repeated = statements.duplicated(["suite", "claim", "when", "quantity", "trials", "expected"], keep=False)
    for row, several in zip(statements.to_dict("records"), repeated, strict=True):
        own = {name: row[name] for name in ("suite", "workload", "verdict", "reason", "expected")}
        when = ", ".join(filter(None, [row["workload"] if several else "", row["when"] or row["trials"]]))
        found.setdefault(row["claim"], []).append(own | {"when": when, "result": measured_text(row)})
    for row in verdicts_frame(stored).to_dict("records"):
        own = {name: row[name] for name in ("suite", "workload", "verdict", "reason")}
        own |= {"when": f"{row['optimizer']}: {row['published']}", "expected": row["published"]}
        found.setdefault(str(row["suite"]).partition("-")[0], []).append(own | {"result": measured_text(row)})
    return found


def page(results: Path = RESULTS) -> str:
    """Return docs/claims.md."""
    judged, of_claim, content = verdicts(results), suites(), index()
    lines = [
        "# What the article says, tested\n",
        "<!-- Written by docs/generate.py from docs/claims.yaml, suites/claims and results/claims. -->\n",
        *(sentences(content["sentences"], judged) if content["sentences"] else summary(content, judged)),
        INTRODUCTION,
    ]
    if not judged:
        lines.append("The suites have not been run for this version: no verdict is stated.\n")
    for part, claims in content["parts"].items():
        lines += [
            f"## {part}\n",
            "| claim | verdict | conditions | figure | repeat |",
            "| :-- | :-- | :-- | :-- | :-- |",
        ]
        lines += [
            _row(claim, facts, judged, of_claim.get(claim, []), results) for claim, facts in claims.items()
        ]
        lines.append("")
    lines += list(_reasons(content, judged))
    return "\n".join(lines)


def sentences(written: list[Mapping[str, Any]], judged: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the section at the top of the page. Raises `ValueError` for a sentence that the verdicts do not support."""
    if not judged or not written:
        return
    yield "## In five sentences\n"
    for number, sentence in enumerate(written, start=1):
        values = []
        for basis in sentence["rests_on"]:
            row = _test_of(basis, judged)
            if row["verdict"] != basis["verdict"]:
                raise ValueError(
                    f"docs/claims.yaml: sentence {number} rests on {basis['claim']} ({basis['when']}) being {basis['verdict']}; "
                    f"the results say {row['verdict']}: change the sentence"
                )
            values.append(row["result"])
        yield f"{number}. {sentence['says'].format(*values)}"
    yield ""


def summary(content: Mapping[str, Any], judged: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the section at the top of the page from the verdicts alone: how many claims have each, and which."""
    if not judged:
        return
    says = {claim: facts["says"] for claims in content["parts"].values() for claim, facts in claims.items()}
    stated = {
        c: facts["verdict"]
        for claims in content["parts"].values()
        for c, facts in claims.items()
        if "verdict" in facts
    }
    words = {
        claim: stated.get(claim) or overall([test["verdict"] for test in judged.get(claim, [])]).strip("*")
        for claim in says
    }
    groups = {
        "hold under every condition that was tested": "reproduced",
        "are contradicted under every condition that was tested": "contradicted",
        "hold under some conditions only, which their rows state": "depends on the condition",
        "make no difference, or have no clear answer at this number of seeds": "no difference inconclusive",
    }
    by_group = {
        text: [claim for claim in says if (word := words[claim].partition(":")[0]) and word in known]
        for text, known in groups.items()
    }
    counts = [f"{len(claims)} {text.partition(',')[0]}" for text, claims in by_group.items()]
    rest = len(says) - sum(map(len, by_group.values()))
    yield "## In five sentences\n"
    yield f"1. Of {len(says)} claims, {'; '.join(counts)}; {rest} were not tested here or are not testable as stated."
    for number, (text, claims) in enumerate(by_group.items(), start=2):
        listed = "; ".join(f"{says[claim]} ({claim})" for claim in claims)
        yield f"{number}. These {text}: {listed}." if claims else f"{number}. No claims {text}."
    yield ""


def _test_of(basis: Mapping[str, Any], judged: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    rows = [row for row in judged.get(basis["claim"], []) if row["when"] == basis["when"]]
    if len(rows) != 1:
        known = "; ".join(row["when"] for row in judged.get(basis["claim"], [])) or "none"
        raise ValueError(
            f"docs/claims.yaml: {basis['claim']}: expected one test '{basis['when']}'; found {known}"
        )
    return rows[0]


def _row(
    claim: str,
    facts: Mapping[str, Any],
    judged: Mapping[str, list[dict[str, Any]]],
    paths: list[Path],
    results: Path,
) -> str:
    tests = judged.get(claim, [])
    if "verdict" in facts:
        word, conditions = f"**{facts['verdict']}**", facts["because"]
    else:
        word = overall([test["verdict"] for test in tests])
        conditions = "<br>".join(map(_condition, tests))
    commands = [f"optbench run suites/claims/{path.name}" for path in paths] or [facts.get("command", "")]
    figures = [link for path in paths if (link := _figure(path.stem, results))]
    cells = (
        f"**{claim}**: {facts['says']}",
        word,
        conditions or "–",
        "<br>".join(figures) or "–",
        "<br>".join(f"`{command}`" for command in commands if command) or "–",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _condition(test: Mapping[str, Any]) -> str:
    text = f"{test['when']}: **{test['verdict']}**"
    return text if test["result"] == "–" else f"{text}, {test['result']} (claimed: {test['expected']})"


def overall(words: list[str]) -> str:
    """Return the verdict of a claim from those of its tests: their common word, or how many there are of each."""
    counts = Counter(words)
    decided = [word for word in counts if word != "not tested here"]
    if not counts:
        return "not measured yet"
    if len(decided) <= 1:
        return f"**{(decided or list(counts))[0]}**"
    parts = [f"{counts[word]} {word}" for word in WORDS if counts[word]]
    return f"depends on the condition: {', '.join(parts)}"


def _figure(suite: str, results: Path) -> str:
    """Return a link to a figure of a suite; "" if it has none."""
    folder = results / suite / "figures"
    for kind in FIGURES:
        if found := sorted(folder.glob(f"{kind}*.svg")):
            return f"[{suite.partition('-')[0]}](figures/claims/{suite}-{found[0].name})"
    return ""


def copy_figures() -> None:
    """Copy the linked figures into docs/figures/claims, which is not committed."""
    target = DOCS / "figures" / "claims"
    target.mkdir(parents=True, exist_ok=True)
    for paths in suites().values():
        for path in paths:
            if match := re.search(r"\((figures/claims/[^)]+)\)", _figure(path.stem, RESULTS)):
                name = Path(match[1]).name
                source = RESULTS / path.stem / "figures" / name.removeprefix(f"{path.stem}-")
                (target / name).write_bytes(source.read_bytes())


def _reasons(content: Mapping[str, Any], judged: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield the section with the reasons of verdicts that state one."""
    with_reason = {claim: [test for test in tests if test["reason"]] for claim, tests in judged.items()}
    if not any(with_reason.values()):
        return
    yield "## Notes on single verdicts\n"
    for claim in (claim for claims in content["parts"].values() for claim in claims):
        for test in with_reason.get(claim, []):
            yield f"- {claim}, {test['when']}: {test['reason']}."
    yield ""
