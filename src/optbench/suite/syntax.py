"""What YAML's parser says of a file that it can't read, in the words of somebody who wrote the file."""

from __future__ import annotations

import re

import yaml

from optbench.errors import Problem

_FLOW = re.compile(r"expected ',' or '([}\]])', but got '(.*)'")
_BEGINS = re.compile(r"found character '(.+)' that cannot start any token")


def syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str, with_lines: bool) -> Problem:
    """Line and column, what was found there and what was expected."""
    mark = error.problem_mark or error.context_mark
    message, mark = _message(error, text.splitlines(), mark)
    if mark is None or not with_lines:
        return Problem(message, file=file)
    return Problem(message, file=file, line=mark.line + 1, column=mark.column + 1)


def _message(
    error: yaml.MarkedYAMLError, lines: list[str], mark: yaml.Mark | None
) -> tuple[str, yaml.Mark | None]:
    problem, opened = error.problem or "", error.context_mark
    said = f"not valid YAML: {problem or error.context or 'cannot be parsed'}"
    if "expected a single document" in str(error):
        return "expected one YAML document; found a second one", mark
    if mark is None:
        return said, mark
    line = lines[mark.line] if mark.line < len(lines) else ""
    rest = line[mark.column :].strip()
    if "'\\t'" in problem:
        return "expected spaces for indentation; found a tab", mark
    if problem == "expected <block end>, but found '?'":
        return "expected '- ', as the list above it has; found a key", mark
    if problem == "expected <block end>, but found '-'":
        return "expected 'key: value', as the lines above it have; found a list item ('- ')", mark
    if problem == "expected <block end>, but found '<block mapping start>'":
        return _indentation(lines, mark.line, "a key"), mark
    if problem == "expected <block end>, but found '<block sequence start>'":
        return _indentation(lines, mark.line, "a list item"), mark
    if found := _FLOW.fullmatch(problem):
        return _unclosed(found[1], rest, opened), mark
    if problem == "could not find expected ':'" and opened is not None:
        written = lines[opened.line][opened.column :].strip() if opened.line < len(lines) else ""
        return f"expected 'key: value'; found '{written[:60]}' without a ': '", opened
    if problem == "found unexpected end of stream" and opened is not None:
        return (
            "expected a closing quotation mark for the one that opens here; found the end of the file",
            opened,
        )
    if problem == "mapping values are not allowed here":
        return _second_colon(line, lines, mark.line), mark
    if problem.startswith("found undefined alias"):
        name = problem.rpartition("'")[0].rpartition("'")[2]
        return f"expected an anchor '&{name}' above this alias '*{name}'; found none", mark
    if found := _BEGINS.fullmatch(problem):
        return f"text that begins with '{found[1]}' needs quotes: '{rest[:40]}'", mark
    if problem.startswith("found unknown escape character"):
        return "in double quotes '\\' begins an escape; write '\\\\', or use single quotes", mark
    return said, mark


def _indentation(lines: list[str], at: int, what: str) -> str:
    """Which columns the lines above would allow."""
    here = _indent(lines[at])
    allowed: dict[int, int] = {}
    for above in range(at - 1, -1, -1):
        text = lines[above].strip()
        if text and not text.startswith("#") and _indent(lines[above]) < min(allowed, default=10**6):
            allowed[_indent(lines[above])] = above
    places = [
        f"{spaces} (as '{_start(lines[line])}' in line {line + 1})"
        for spaces, line in sorted(allowed.items())
    ]
    if here in allowed:  # the line above has its value already
        return f"expected nothing more to belong to line {at}; found {what} further in"
    return f"expected {' or '.join(places[-2:])} spaces before {what}; found {here}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _start(line: str) -> str:
    """The key of a line, or its first words."""
    return line.strip().partition(":")[0][:30]


def _unclosed(closing: str, rest: str, opened: yaml.Mark | None) -> str:
    opening = {"}": "{", "]": "["}[closing]
    where = f" that opens in line {opened.line + 1}" if opened is not None else ""
    found = f"'{rest[:30]}'" if rest else "the end of the file"
    return f"expected ',' or '{closing}' for the '{opening}'{where}; found {found}"


def _second_colon(line: str, lines: list[str], at: int) -> str:
    if line.count(": ") + line.rstrip().endswith(":") > 1:
        return "expected one ': ' in a line; found a second one: text that holds ': ' needs quotes"
    above = next((i for i in range(at - 1, -1, -1) if lines[i].strip()), at)
    if ": " not in lines[above] + " ":
        return (
            f"expected 'key: value' in line {above + 1}; found '{lines[above].strip()[:60]}' without a ': '"
        )
    if _indent(line) > _indent(lines[above]):
        return (
            f"expected '{_start(lines[above])}' in line {above + 1} to have either a value beside it "
            f"or keys below it; found both"
        )
    return "expected a value; found a ': ' where no key can be"
