"""Files that are no YAML, and words that are nearly right: line, what was found, what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.catalog.check import examine
from optbench.errors import OptbenchError
from optbench.suite.yaml_source import parse


def said(text: str) -> str:
    with pytest.raises(OptbenchError) as caught:
        parse(text, "s.yaml")
    [problem] = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a:\n  b: {c: 1}\n   d: 2\n", "3:4", "0 (as 'a' in line 1) or 2 (as 'b' in line 2) spaces"),
        ("t: 1\na:\n  b: 1\n c: 2\n", "4:2", "or 2 (as 'b' in line 3) spaces before a key; found 1"),
        ("a:\n  b: {c: 1\n  d: 2\n", "3:4", "for the '{' opened in line 2"),
        ("a: [1, 2\n", "2:1", "for the '[' opened in line 1; found the end of the file"),
        ("a:\n  b: 1\n  b 64\n  c: 3\n", "3:3", "found 'b 64' without a ': '"),
        ("a:\n  b 64\n  c: 3\n", "3:4", "expected 'key: value' in line 2; found 'b 64'"),
        ("a:\n\tb: 1\n", "2:1", "expected spaces for indentation; found a tab"),
        ("t: Which: one?\n", "1:9", "quote text that contains ': '"),
        ("a: small\n  width: 8\n", "2:8", "either a value or indented keys"),
        ('t: "x\na: 1\n', "1:4", "closing quotation mark"),
        ("a:\n  - b: 1\n  c: 2\n", "3:3", "expected '- ' as in the list above"),
        ("a:\n  b: 1\n  - c\n", "3:3", "found a list item"),
        ("a: *base\n", "1:4", "expected an anchor '&base'"),
        ("a: @b\n", "1:4", "text that starts with '@' must be quoted"),
        ("a: *.md\n", "1:4", "text that starts with '*' must be quoted: '*.md'"),
    ],
)
def test_syntax_errors_are_reported_in_plain_words(text: str, place: str, words: str) -> None:
    message = said(text)
    assert message.startswith(f"s.yaml:{place}: ")
    assert words in message
    assert "<block" not in message


def problems(tmp_path: Path, text: str) -> str:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    return "\n".join(str(problem) for problem in examine(file, (), None, tmp_path)[1])


SUITE = """\
workload:
  model: {MODEL}
  data: {name: digits}
  batch_size: 64
  budget: 1 epochs
  target: {metric: accuracy, at_least: TARGET}
optimizers:
  A: {ENTRY}
"""


def suite(model: str = "name: mlp", target: str = "0.9", entry: str = "use: sgd") -> str:
    return SUITE.replace("MODEL", model).replace("TARGET", target).replace("ENTRY", entry)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (suite(model="use: mlp"), "expected 'name: mlp'; found 'use', which is the key for optimizers"),
        (suite(model="nmae: mlp"), "expected 'name'; found 'nmae'"),
        (suite(entry="name: adam"), "expected 'use: adam'; found 'name'"),
        (suite(target="97%"), "expected a fraction; found '97%': write 0.97"),
        (suite(entry="use: torch.optim.SGD, learning_rate: 0.1"), "did you mean 'lr'?"),
        (suite(entry="use: adam, beta1: 0.9"), "did you mean 'betas'?"),
    ],
)
def test_a_word_that_is_nearly_right_gets_the_right_one(tmp_path: Path, written: str, words: str) -> None:
    assert problems(tmp_path, suite()) == ""
    assert words in problems(tmp_path, written)
