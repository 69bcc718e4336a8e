"""Convert errors of the YAML parser into messages in the terms of the file."""

from __future__ import annotations

import re

import yaml

from optbench.errors import Problem

_FLOW = re.compile(r"expected ',' or '([}\]])', but got '(.*)'")
_BEGINS = re.compile(r"found character '(.+)' that cannot start any token")


def syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str, with_lines: bool) -> Problem:
    """Return a problem with line and column, what was found and what was expected."""
    mark = error.problem_mark or error.context_mark
    message, mark = _message(error, text.splitlines(), mark)
    if mark is None or not with_lines:
        return Problem(message, file=file)
    return Problem(message, file=file, line=mark.line + 1, column=mark.column + 1)


def _message(
    error: yaml.MarkedYAMLError, lines: list[str], mark: yaml.Mark | None
) -> tuple[str, yaml.Mark | None]:
    problem, opened = error.problem or "", error.context_mark
    default = f"not valid YAML: {problem or error.context or 'cannot be parsed'}"
    if "expected a single document" in str(error):
        return "expected one YAML document; found a second one", mark
    if mark is None:
        return default, mark
    line = lines[mark.line] if mark.line < len(lines) else ""
    rest = line[mark.column :].strip()
    if "'\\t'" in problem:
        return "expected spaces for indentation; found a tab", mark
    if problem == "expected <block end>, but found '?'":
        return "expected '- ' as in the list above; found a key", mark
    if problem == "expected <block end>, but found '-'":
        return "expected 'key: value' as in the lines above; found a list item ('- ')", mark
    if problem == "expected <block end>, but found '<block mapping start>'":
        return _indentation(lines, mark.line, "a key"), mark
    if problem == "expected <block end>, but found '<block sequence start>'":
        return _indentation(lines, mark.line, "a list item"), mark
    if error.context in ("while scanning an alias", "while scanning an anchor") and opened is not None:
        written = lines[opened.line][opened.column :].strip() if opened.line < len(lines) else ""
        return f"text that starts with '{written[:1]}' must be quoted: '{written[:40]}'", opened
    if match := _FLOW.fullmatch(problem):
        return _unclosed(match[1], rest, opened), mark
    if problem == "could not find expected ':'" and opened is not None:
        written = lines[opened.line][opened.column :].strip() if opened.line < len(lines) else ""
        return f"expected 'key: value'; found '{written[:60]}' without a ': '", opened
    if problem == "found unexpected end of stream" and opened is not None:
        return (
            "expected a closing quotation mark for the one opened here; found the end of the file",
            opened,
        )
    if problem == "mapping values are not allowed here":
        return _second_colon(line, lines, mark.line), mark
    if problem.startswith("found undefined alias"):
        name = problem.rpartition("'")[0].rpartition("'")[2]
        return f"expected an anchor '&{name}' above this alias '*{name}'; found none", mark
    if match := _BEGINS.fullmatch(problem):
        return f"text that starts with '{match[1]}' must be quoted: '{rest[:40]}'", mark
    if problem.startswith("found unknown escape character"):
        return "in double quotes, '\\' starts an escape sequence: write '\\\\', or use single quotes", mark
    return default, mark


def _indentation(lines: list[str], at: int, what: str) -> str:
    """Return a message with the indentations that the lines above allow."""
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
        return f"expected no further indentation: line {at} has a value already; found {what}"
    return f"expected {' or '.join(places[-2:])} spaces before {what}; found {here}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _start(line: str) -> str:
    """Return the key of a line, or its first words."""
    return line.strip().partition(":")[0][:30]


def _unclosed(closing: str, rest: str, opened: yaml.Mark | None) -> str:
    opening = {"}": "{", "]": "["}[closing]
    where = f" opened in line {opened.line + 1}" if opened is not None else ""
    found = f"'{rest[:30]}'" if rest else "the end of the file"
    return f"expected ',' or '{closing}' for the '{opening}'{where}; found {found}"


def _second_colon(line: str, lines: list[str], at: int) -> str:
    if line.count(": ") + line.rstrip().endswith(":") > 1:
        return "expected one ': ' per line; found a second one: quote text that contains ': '"
    above = next((i for i in range(at - 1, -1, -1) if lines[i].strip()), at)
    if ": " not in lines[above] + " ":
        return (
            f"expected 'key: value' in line {above + 1}; found '{lines[above].strip()[:60]}' without a ': '"
        )
    if _indent(line) > _indent(lines[above]):
        return f"expected either a value or indented keys for '{_start(lines[above])}' in line {above + 1}; found both"
    return "expected a value; found ': ' where a key is not allowed"
