"""Check one optimizer and its arguments, including optimizers among its arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from optbench.catalog import lookup, sources
from optbench.catalog.arguments import Finding, TypedPath, argument_findings, type_problem
from optbench.catalog.check_component import message_of
from optbench.catalog.optimizer_packages import Modules
from optbench.catalog.roles import GIVEN, Role, inner_optimizer, roles
from optbench.catalog.signatures import Parameter, Signature, signature
from optbench.catalog.sources import Definition
from optbench.errors import OptbenchError, nearest
from optbench.suite.nested_optimizers import Nested

_MAX_DEPTH = 5  # of optimizers within optimizers


def optimizer_findings(
    use: str,
    arguments: Mapping[str, Any],
    folder: Path,
    path: TypedPath,
    *,
    use_path: TypedPath | None = None,
    is_class: bool = False,
    depth: int = 0,
) -> Iterator[Finding]:
    """Yield unknown names, and arguments that the class does not take. `path` is that of the arguments, `use_path` that of the name.

    `is_class`: the class itself is passed, and its caller may add arguments.
    """
    if depth > _MAX_DEPTH:
        yield path, f"expected at most {_MAX_DEPTH} levels of nested optimizers; found more"
        return
    try:
        read = signature(lookup.resolve("optimizers", use, folder))
    except OptbenchError as error:
        yield from ((use_path or path[:-1], message_of(problem)) for problem in error.problems)
        return
    by_name = roles(read)
    inner = {
        key: found
        for key, value in arguments.items()
        if (found := inner_optimizer(by_name.get(key, "setting"), value)) is not None
    }
    for key, found in inner.items():
        yield from optimizer_findings(
            found.use,
            found.arguments,
            folder,
            (*path, key),
            use_path=(*path, key, "use"),
            is_class=by_name.get(key) != "optimizer",
            depth=depth + 1,
        )
    given = [name for name, role in by_name.items() if role in GIVEN]
    yield from _missing_inner_optimizers(use, read, by_name, inner, path)
    widened = _with_forwarded_parameters(read, by_name, inner, folder, optional=is_class)
    plain = {key: value for key, value in arguments.items() if key not in inner or key not in widened.names}
    yield from argument_findings("optimizers", widened, plain, path, use, given)


def group_findings(use: str, values: Mapping[str, Any], folder: Path, path: TypedPath) -> Iterator[Finding]:
    """Yield values of a parameter group that its class does not read: neither arguments nor keys in its source.

    Raises `OptbenchError` for an unknown class.
    """
    target = lookup.resolve("optimizers", use, folder)
    read = signature(target)
    known = {p.name for p in read.parameters[1:]}
    found = sources.define(target.module, target.file, target.attribute) if target.file else None
    files = _source_files(found) if found is not None else []
    texts = {
        node.value
        for file in files
        for node in ast.walk(sources.parse(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for key, value in values.items():
        if key in known:
            if message := type_problem(read[key], value):
                yield (*path, "arguments", key), message
        elif files and key not in texts:
            close = get_close_matches(key, filter(str.isidentifier, texts), n=1)
            message = f"'{use}' reads no '{key}' from its groups; {nearest(key, [*known, *close])}"
            yield (*path, "arguments", key), message


def _source_files(found: Definition) -> list[Path]:
    """Return the files of a class and of its bases; empty if a base cannot be found without importing."""
    node = found.node
    if found.module or not isinstance(node, ast.ClassDef):
        return [found.file, *(base.file for base in Modules().bases(found))]
    direct = [sources.follow(base, found.module, found.file) for base in node.bases]
    return [found.file, *(base.file for base in direct if base is not None)] if all(direct) else []


def _missing_inner_optimizers(
    use: str, read: Signature, by_name: Mapping[str, Role], inner: Mapping[str, Nested], path: TypedPath
) -> Iterator[Finding]:
    """Yield required optimizers that are missing."""
    for parameter in read.parameters:
        role = by_name[parameter.name]
        if role in ("optimizer", "optimizer_class") and parameter.required and parameter.name not in inner:
            message = (
                f"'{use}' requires another optimizer, as in '{parameter.name}: {{use: torch.optim.AdamW}}'"
            )
            yield path[:-1], message


def _with_forwarded_parameters(
    read: Signature,
    by_name: Mapping[str, Role],
    inner: Mapping[str, Nested],
    folder: Path,
    *,
    optional: bool,
) -> Signature:
    """Return the signature with the parameters that `**kwargs` may forward to a class among the arguments.

    Optimizers are optional here: `_missing_inner_optimizers` checks them.
    """
    parameters = [
        replace(p, required=p.required and not optional and by_name[p.name] in (*GIVEN, "setting"))
        for p in read.parameters
    ]
    is_open = read.accepts_any
    for key, found in inner.items() if is_open else ():
        if by_name.get(key) == "optimizer":
            continue
        try:
            passed_on = signature(lookup.resolve("optimizers", found.use, folder))
        except OptbenchError:
            continue
        known = {p.name for p in parameters}
        parameters += [
            Parameter(p.name, False, p.default, p.annotation)
            for p in passed_on.parameters[1:]
            if p.name not in known
        ]
        is_open = passed_on.accepts_any
    return replace(read, parameters=tuple(parameters), accepts_any=is_open)
