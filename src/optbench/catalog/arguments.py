"""Check arguments in a suite against a signature: names, missing arguments, and obvious types."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from optbench.catalog import schedulers
from optbench.catalog.model_facts import NAMES
from optbench.catalog.signatures import UNKNOWN, Parameter, Signature
from optbench.errors import nearest
from optbench.suite.spaces import MISPLACED, is_space
from optbench.suite.value_formatting import format_value

TypedPath = tuple[str | int, ...]
#: typed path in the suite, and the problem there
Finding = tuple[TypedPath, str]

#: arguments that the engine passes
SUPPLIED = {
    "models": set(NAMES),
    "data": {"root"},
    "schedules": {"step", "steps", "observed", "optimizer", "last_epoch", *schedulers.SUPPLIED},
    "optimizers": {"model", "total_steps"},
    "initialisations": {"weight"},
}
_PLAIN = {"int", "float", "bool", "str", "None", "list", "tuple", "dict", "Literal"}
_LISTS = {"list", "tuple", "List", "Tuple", "Sequence", "Iterable", "Collection"}
_HARMLESS = {"Tensor", "Ellipsis"}  # no suite can write these, so they allow nothing more
#: arguments of optimizers; most classes check them too, but only after a trial has started
_AT_LEAST_0 = {"lr", "weight_decay", "eps", "momentum", "dampening", "rho"}


#: names in other libraries that are too different for a match by spelling
_ELSEWHERE = {
    "learning_rate": "lr",
    "step_size": "lr",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "l2": "weight_decay",
    "beta": "momentum",
    "beta1": "betas",
    "beta2": "betas",
    "epsilon": "eps",
    "smoothing": "label_smoothing",
    "hidden_sizes": "hidden",
    "layers": "hidden",
}


def argument_findings(
    family: str,
    signature: Signature,
    arguments: Mapping[str, Any],
    path: TypedPath,
    name: str,
    given: Collection[str] = (),
) -> Iterator[Finding]:
    """Yield unknown arguments of `name`, arguments of a wrong type, and missing arguments.

    `path` is the typed path of the arguments; the parameters in `given` are passed by optbench. For an optimizer class only *named*
    parameters are accepted, even if it takes `**kwargs`, so that a typo is always reported.
    """
    first = _supplied(family, signature) | set(given)
    supplied = SUPPLIED.get(family, set()) | first
    own = {"models": set(NAMES[2:]), "schedules": set(schedulers.SUPPLIED)}.get(
        family, set()
    )  # unless the suite says otherwise
    known = [p for p in signature.names if p not in supplied - own]
    for argument, value in arguments.items():
        here = (*path, argument)
        if argument in first or (
            argument in supplied and argument in signature.names and argument not in known
        ):
            yield here, f"'{argument}' is passed by optbench: remove it"
        elif argument in known:
            if message := (
                type_problem(signature[argument], value)
                or _out_of_range(family, argument, value)
                or _missing_betas(argument, signature[argument].default, value)
            ):
                yield here, MISPLACED if is_space(value) else message
        elif not signature.accepts_any:
            yield here, f"'{name}' has no argument '{argument}'; {_nearest_argument(argument, known)}"
    for parameter in signature.parameters:
        if parameter.required and parameter.name not in {*supplied, *arguments}:
            yield path[:-1], f"'{name}' requires the argument '{parameter.name}'"


def _supplied(family: str, signature: Signature) -> set[str]:
    """Return the names of a schedule's parameters that the engine passes: the optimizer, or the step and the number of steps."""
    if family != "schedules":
        return set()
    named = [p.name for p in signature.parameters if schedulers.names_optimizer(p.name, p.annotation)]
    return set(named[:1] or signature.names[: 1 if signature.is_class else 2])


def choices(parameter: Parameter) -> list[Any]:
    """Return the values that an annotation such as `Literal["a", "b"]` allows; empty for other annotations."""
    node = _annotation(parameter)
    return list(_literals(node)) if node is not None else []


def type_problem(parameter: Parameter, value: Any) -> str:
    """Return an error message if a value contradicts the annotation or the default, else ""."""
    node = _annotation(parameter)
    if node is None:
        return _default_problem(parameter.default, value)
    options = list(_literals(node))
    names, inner = _type_names(node)
    if value in options:
        return ""
    if options and isinstance(value, str) and "str" not in names:
        return _option_problem(options, value)
    if (names | inner) - _PLAIN - _LISTS - _HARMLESS:
        return _default_problem(parameter.default, value) if isinstance(value, (str, dict)) else ""
    return _annotation_problem(names, inner, bool(options), value)


def _type_names(node: ast.expr) -> tuple[set[str], set[str]]:
    """Return the type names of an annotation: `float | tuple[int, str]` -> {"float", "tuple"} and {"int", "str"} inside."""
    if isinstance(node, ast.Constant):
        return ({"None"} if node.value is None else set()), set()
    if isinstance(node, ast.BinOp):
        (left, in_left), (right, in_right) = _type_names(node.left), _type_names(node.right)
        return left | right, in_left | in_right
    if isinstance(node, ast.Subscript):
        base = ast.unparse(node.value).split(".")[-1]
        if base == "Literal":
            return {base}, set()
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        pairs = [_type_names(part) for part in parts]
        outer = {name for pair in pairs for name in pair[0]}
        inner = {name for pair in pairs for name in pair[1]}
        if base in ("Union", "Optional", "Annotated", "Final"):
            return outer | ({"None"} if base == "Optional" else set()), inner
        return {base}, outer | inner
    return {ast.unparse(node).split(".")[-1]}, set()


def _nearest_argument(argument: str, known: list[str]) -> str:
    meant = _ELSEWHERE.get(argument.lower())
    return f"did you mean '{meant}'?" if meant in known else nearest(argument, known)


def _annotation(parameter: Parameter) -> ast.expr | None:
    try:
        return ast.parse(parameter.annotation, mode="eval").body if parameter.annotation else None
    except SyntaxError:
        return None


def _literals(node: ast.expr) -> Iterator[Any]:
    for part in ast.walk(node):
        if isinstance(part, ast.Subscript) and ast.unparse(part.value).split(".")[-1] == "Literal":
            items = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
            yield from (item.value for item in items if isinstance(item, ast.Constant))


def _option_problem(options: list[Any], value: str) -> str:
    close = get_close_matches(value, [str(option) for option in options], n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return (
        f"expected one of {', '.join(str(option) for option in options)}; found {format_value(value)}{hint}"
    )


def _annotation_problem(names: set[str], inner: set[str], has_options: bool, value: Any) -> str:
    """Return the error message for a value that the types `names`, or `inner` within lists, do not allow; "" if they do."""
    if not names & (_PLAIN | _LISTS):
        return ""
    if isinstance(value, (list, tuple)):
        if names & _LISTS:
            numbers_only = inner & {"int", "float"} and not inner & {"str", "bool", "list", "tuple"}
            wrong = [item for item in value if isinstance(item, (str, bool))] if numbers_only else []
            return f"expected numbers; found {format_value(wrong[0])}" if wrong else ""
    elif isinstance(value, bool):
        if "bool" in names:
            return ""
    elif isinstance(value, (int, float)):
        if names & ({"int", "float"} if isinstance(value, int) else {"float"}):
            return ""
    elif isinstance(value, str):
        if "str" in names:
            return ""
    elif value is None:
        if "None" in names:
            return ""
    elif names & {"dict"}:
        return ""
    return f"expected {_expected_types(names, has_options)}; found {format_value(value)}"


def _expected_types(names: set[str], has_options: bool) -> str:
    words = []
    if names & _LISTS:
        words.append("a list")
    if "float" in names:
        words.append("a number")
    elif "int" in names:
        words.append("a whole number")
    if "bool" in names:
        words.append("true or false")
    if "str" in names or has_options:
        words.append("text")
    if "dict" in names:
        words.append("a mapping")
    if "None" in names:
        words.append("null")
    return " or ".join(words)


def _default_problem(default: Any, value: Any) -> str:
    """Compare a value with the default. Only values that certainly fail are reported, such as text for a number."""
    if default is UNKNOWN or default is None or value is None:
        return ""
    if isinstance(default, (int, float)) and isinstance(value, (str, dict)):
        word = "true or false" if isinstance(default, bool) else "a number"
        return f"expected {word}; found {format_value(value)}"
    if isinstance(default, tuple) and isinstance(value, (str, dict)):
        return f"expected a list; found {format_value(value)}"
    if isinstance(default, str) and isinstance(value, (list, dict)):
        return f"expected text; found {format_value(value)}"
    return ""


def _missing_betas(argument: str, default: Any, value: Any) -> str:
    """Return a message for `betas` with fewer numbers than the default: classes read all of them."""
    if argument != "betas" or not isinstance(default, tuple) or not isinstance(value, list):
        return ""
    return f"expected {len(default)} numbers; found {len(value)}" if len(value) < len(default) else ""


def _out_of_range(family: str, argument: str, value: Any) -> str:
    if family != "optimizers":
        return ""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if argument in _AT_LEAST_0 and is_number and value < 0:
        return f"expected at least 0; found {value}"
    if argument == "betas" and isinstance(value, list):
        wrong = [beta for beta in value if isinstance(beta, (int, float)) and not 0 <= beta <= 1]
        return f"expected numbers from 0 to 1; found {wrong[0]}" if wrong else ""
    return ""
