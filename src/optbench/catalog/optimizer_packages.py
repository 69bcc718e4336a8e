"""Optimizer classes that installed packages offer, read from their source: no package is imported."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from optbench.catalog import sources
from optbench.catalog.optimizers import _packages as facts
from optbench.catalog.sources import Definition
from optbench.version import __version__

#: submodules in which packages have their optimizers
_SUBMODULES = ("optim", "optimizers", "optimizer")
_TORCHS = ("torch.optim.optimizer", "Optimizer")
_REQUIRES_TORCH = re.compile(r"^Requires-Dist: *torch(?![\w.-])(?!.*extra *==)", re.MULTILINE)
_MAX_HOPS = 25  # re-exports followed from one name
_LINK = re.compile(r"https?://[^\s`<>\"'\\]+")
_PAPER = re.compile(r"arxiv\.org/|openreview\.net|proceedings\.|papers\.nips|jmlr\.org|kellerjordan")
#: a short first line of a docstring whose second line begins another sentence
_TITLE = re.compile(r".{1,40}\w(?=\s*\n\s*[A-Z])")
#: names of classes that only exist to be subclassed, if they are subclassed
_BASE_NAME = re.compile(r"^Base[A-Z]|^Core[A-Z]|Base$|Optimi[sz]er$")


@dataclass(frozen=True)
class Offered:
    """An optimizer class of an installed package."""

    use: str
    """Import path, as a suite has it."""
    package: str
    version: str
    summary: str = ""
    """First sentence of the class's docstring, if it has one."""
    link: str = ""
    """First link to a paper in the docstring of the class, or above it if the file has no other class; else another link."""


def offered() -> list[Offered]:
    """Return the optimizer classes of all installed packages, by package and name; aliases and base classes are left out.

    Reading the source of many packages takes seconds, so the result is stored in the user's cache folder. It is used while the same
    packages are installed and no file changed that was read (`OPTBENCH_CACHE=off`: not at all).
    """
    place = _place()
    if place is None:
        return _scan()[0]
    key = [__version__, *sys.version_info[:2], *_installed()]
    if (known := _load(place, key)) is not None:
        return known
    found, read = _scan()
    _save(place, key, found, read)
    return found


def _scan() -> tuple[list[Offered], list[Path]]:
    """Return the classes and the files that were read."""
    modules = Modules()
    found: dict[tuple[Path, str], tuple[Offered, Definition]] = {}
    for distribution in distributions():
        if not (in_package := _modules(distribution)):
            continue
        metadata = distribution.metadata  # read and parsed at each access
        for module in in_package:
            is_found = False
            for name in sorted(modules.exports(module)):
                definition = modules.resolve(module, name)
                if definition is None or name[0] in "_" or not modules.is_optimizer(definition):
                    continue
                if definition.module.split(".")[0] != module.split(".")[0]:
                    continue  # imported from another package
                is_found = True
                key, use = (definition.file, definition.node.name), f"{module}.{name}"
                is_alias = key in found and name != definition.node.name
                if key not in found or (found[key][0].use.rpartition(".")[0] == module and not is_alias):
                    texts = _summary(definition), _link(definition)
                    found[key] = Offered(use, metadata["Name"], metadata["Version"], *texts), definition
            if is_found:
                break  # its submodules offer the same
    subclassed = {(base.file, base.node.name) for _, one in found.values() for base in modules.bases(one)}
    shown = [
        one
        for key, (one, definition) in found.items()
        if not _is_base(one, definition, is_subclassed=key in subclassed)
    ]
    return sorted(shown, key=lambda one: (one.use.lower().split("."), one.use)), modules.files


def _summary(definition: Definition) -> str:
    text = (ast.get_docstring(definition.node) or "").split("\n\n", 1)[0]
    if (title := _TITLE.match(text)) is not None:
        text = title[0]
    first = " ".join(text.split())
    return "" if first.startswith(("Argument", "Args", "Param")) else re.split(r"(?<=\.) ", first)[0]


def _link(definition: Definition) -> str:
    file, node = definition.file, definition.node
    docstring = ast.get_docstring(node) or ""
    is_only = sum(isinstance(one, ast.ClassDef) for one in sources.parse(file).body) == 1
    above = file.read_text(encoding="utf-8", errors="replace").splitlines()[: node.lineno] if is_only else []
    links = [link.rstrip(".,;:)]") for link in _LINK.findall("\n".join([docstring, *above]))]
    others = [link for link in links if "pytorch.org" not in link and link in docstring]
    return next(iter([*(link for link in links if _PAPER.search(link)), *others]), "")


def _place() -> Path | None:
    """Return the cache file of this environment; None if caches are disabled."""
    if os.environ.get("OPTBENCH_CACHE", "").lower() in ("off", "0", "no"):
        return None
    import platformdirs

    environment = hashlib.sha256("\n".join([sys.prefix, *sys.path]).encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("optbench")) / "optimizers" / f"{environment}.json"


def _installed() -> list[Any]:
    """Return the metadata folder of each installed package with its modification time, which installing and removing changes."""
    found: list[Any] = []
    for folder in dict.fromkeys(sys.path):
        with suppress(OSError), os.scandir(folder or ".") as entries:
            found += sorted(
                [entry.path, entry.stat().st_mtime_ns]
                for entry in entries
                if entry.name.endswith((".dist-info", ".egg-info"))
            )
    return found


def _load(place: Path, key: list[Any]) -> list[Offered] | None:
    """Return the stored classes; None if they are missing, damaged, or of other packages or sources."""
    try:
        content = json.loads(place.read_bytes())
        if content["key"] != key or any(
            sources.changed(Path(file)) != time for file, time in content["files"].items()
        ):
            return None
        return [Offered(*map(str, one)) for one in content["classes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _save(place: Path, key: list[Any], found: list[Offered], read: list[Path]) -> None:
    files = {str(file): sources.changed(file) for file in read}
    text = json.dumps({"key": key, "files": files, "classes": [astuple(one) for one in found]})
    aside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, place)
        finally:
            aside.unlink(missing_ok=True)


def named(name: str) -> list[str]:
    """Return the import paths of the classes with this name in installed packages, whatever its case."""
    return [one.use for one in offered() if one.use.rpartition(".")[2].lower() == name.lower()]


def _is_base(one: Offered, definition: Definition, *, is_subclassed: bool) -> bool:
    return one.use in facts.BASE_CLASSES or (is_subclassed and bool(_BASE_NAME.search(definition.node.name)))


def _modules(distribution: Distribution) -> list[str]:
    """Return the modules that may have the optimizers of a package, in the order of preference."""
    metadata = (distribution.read_text("METADATA") or "").partition("\n\n")[
        0
    ]  # `requires` parses it more slowly
    name = re.search(r"^Name: *(\S+)", metadata, re.MULTILINE)
    known = name[1].lower().replace("_", "-") if name else ""
    if known == "optbench" or not (known in facts.PACKAGES or _REQUIRES_TORCH.search(metadata)):
        return []
    written = distribution.read_text("top_level.txt")
    if written is None:
        files = (distribution.read_text("RECORD") or "").splitlines()
        written = " ".join(m[1] for m in map(re.compile(r"(\w+)(?:\.py|/__init__\.py),").match, files) if m)
    tops = facts.PACKAGES.get(known) or written.split()
    modules = []
    for top in dict.fromkeys(tops):
        if not top.isidentifier() or top in ("test", "tests"):
            continue
        submodules = [f"{top}.{submodule}" for submodule in _SUBMODULES]
        modules += [submodules[0], top, *submodules[1:]]
    return [module for module in modules if _file(module) is not None]


def _file(module: str) -> Path | None:
    """Return the source of a module; None if there is none."""
    located, attribute, file = sources.locate(module)
    return file if located == module and not attribute and file is not None and file.is_file() else None


class Modules:
    """Modules of installed packages, each read once, without importing it."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        """Those that were read."""
        self._exports: dict[str, dict[str, Definition | str]] = {}

    def exports(self, module: str) -> dict[str, Definition | str]:
        """Return what each name of a module is: a class, or the dotted path from which it is imported."""
        if module in self._exports:
            return self._exports[module]
        names = self._exports[module] = {}
        if (file := _file(module)) is None:
            return names
        self.files.append(file)
        for node in sources.statements(sources.parse(file)):
            if isinstance(node, ast.ClassDef):
                names[node.name] = Definition(node, module, file)
            elif isinstance(node, ast.Assign) and isinstance(node.value, (ast.Name, ast.Attribute)):
                names |= {
                    t.id: f"{module}.{ast.unparse(node.value)}"
                    for t in node.targets
                    if isinstance(t, ast.Name)
                }
            elif isinstance(node, ast.Import):
                names |= {a.asname: a.name for a in node.names if a.asname}
                names |= {top: top for a in node.names if not a.asname for top in [a.name.split(".")[0]]}
            elif isinstance(node, ast.ImportFrom) and (source := sources.absolute(node, module, file)):
                for alias in node.names:
                    if alias.name != "*":
                        names[alias.asname or alias.name] = f"{source}.{alias.name}"
                    elif source != module:
                        starred = self.exports(source)
                        names |= {name: f"{source}.{name}" for name in starred if not name.startswith("_")}
        return names

    def resolve(self, module: str, name: str, hops: int = 0) -> Definition | None:
        """Return the class that a dotted name means in a module; None for anything else."""
        first, *rest = name.split(".")
        meaning = self.exports(module).get(first)
        if isinstance(meaning, Definition):
            return None if rest else meaning
        if meaning is None or hops > _MAX_HOPS:
            return None
        parts = [*meaning.split("."), *rest]
        for length in range(len(parts) - 1, 0, -1):
            if _file(inside := ".".join(parts[:length])) is not None:
                return self.resolve(inside, ".".join(parts[length:]), hops + 1)
        return None

    def bases(self, definition: Definition) -> Iterator[Definition]:
        """Yield the classes from which a class derives, directly or not."""
        for base in definition.node.bases if isinstance(definition.node, ast.ClassDef) else ():
            found = self.resolve(definition.module, ast.unparse(base))
            if found is not None and found.node is not definition.node:
                yield found
                yield from self.bases(found)

    def is_optimizer(self, definition: Definition) -> bool:
        """Return whether a class derives from torch's `Optimizer`, or has its methods, as some wrappers have."""
        classes = [definition, *self.bases(definition)]
        if any((base.module, base.node.name) == _TORCHS for base in classes):
            return (definition.module, definition.node.name) != _TORCHS
        methods = {
            node.name for one in classes for node in one.node.body if isinstance(node, ast.FunctionDef)
        }
        return methods >= {"step", "zero_grad", "state_dict"}
