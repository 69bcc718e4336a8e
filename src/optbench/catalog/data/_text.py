"""Texts as windows of tokens: characters, bytes or subwords."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optbench.catalog.data._stored import store_arrays, stored_arrays
from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Codes = npt.NDArray[np.generic]

Level = Literal["char", "byte", "subword"]
_SHARES = (0.8, 0.1, 0.1)  # of the text, in order: training, validation, test


@dataclass(frozen=True)
class Tokens:
    """The tokens of training, validation and test, and the length in UTF-8 of each entry of the vocabulary, in bytes."""

    parts: tuple[Codes, ...]
    token_bytes: npt.NDArray[np.int64]

    @property
    def vocabulary(self) -> int:
        return len(self.token_bytes)


def tokens(
    text: bytes, level: Level, vocabulary: int, source: str, root: Path, *, keep: bool = False
) -> Tokens:
    """Return the tokens of a text, divided into its three parts. Raises `OptbenchError`.

    `vocabulary`: size for subwords; else it is 256 for bytes, and the number of characters that occur. With `keep`, subwords are
    stored in the data root for the next time: learning takes 2 s per MB.
    """
    import numpy as np

    if level == "byte":
        return Tokens(_divided(np.frombuffer(text, np.uint8)), np.ones(256, np.int64))
    if level not in ("char", "subword"):
        raise OptbenchError(f"level: expected char, byte or subword; found {level!r}")
    check_utf8(text, source)
    points = np.frombuffer(text.decode("utf-8").encode("utf-32-le"), np.uint32)
    if level == "subword":
        texts = [part.tobytes().decode("utf-32-le") for part in _divided(points)]
        return _stored_subwords(tuple(texts), vocabulary, root, keep=keep)
    symbols, codes = np.unique(points, return_inverse=True)
    lengths = 1 + (symbols >= 0x80) + (symbols >= 0x800) + (symbols >= 0x10000)
    if len(symbols) < 2:  # a vocabulary has at least two entries
        lengths = np.ones(2, np.int64)
    codes = codes.astype(np.uint16 if len(symbols) > 256 else np.uint8)
    return Tokens(_divided(codes), lengths.astype(np.int64))


def check_utf8(text: bytes, source: str, fix: str = "convert the file, or use level: byte") -> None:
    """Raise `OptbenchError` with line and byte if the text is not UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + text.count(b"\n", 0, error.start)
        raise OptbenchError(
            f"{source}: line {line}: byte {error.start} ({text[error.start]:#04x}) is not UTF-8: {fix}"
        ) from error


def _stored_subwords(texts: tuple[str, ...], vocabulary: int, root: Path, *, keep: bool) -> Tokens:
    try:
        release = version("tokenizers")
    except PackageNotFoundError:
        message = "level: subword needs the package tokenizers: pip install 'optbench[subword]'"
        raise OptbenchError(message) from None
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    file = root / "subwords" / f"{digest}-{vocabulary}-{release}.npz"
    stored = stored_arrays(file)
    if stored is not None:
        return Tokens(tuple(stored[f"part{number}"] for number in range(3)), stored["token_bytes"])
    made = _subwords(texts, vocabulary)
    if keep:
        parts = {f"part{number}": part for number, part in enumerate(made.parts)}
        store_arrays(file, {"token_bytes": made.token_bytes, **parts})
    return made


@lru_cache(maxsize=2)
def _subwords(texts: tuple[str, ...], vocabulary: int) -> Tokens:
    """Return subwords by byte pair encoding (Sennrich et al. 2016, 1508.07909) over bytes, learned from the training part."""
    import numpy as np
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # one character per byte
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_lines(texts[0]), trainer)
    size = tokenizer.get_vocab_size()
    dtype = np.uint16 if size <= 1 << 16 else np.uint32
    parts = [
        np.array([code for line in tokenizer.encode_batch(_lines(text)) for code in line.ids], dtype)
        for text in texts
    ]
    lengths = np.array([len(tokenizer.id_to_token(code) or "") for code in range(size)], np.int64)
    return Tokens(tuple(parts), lengths)


def _lines(text: str) -> list[str]:
    """Return the lines with their ends: pieces that are encoded in parallel, and which no token crosses."""
    return text.splitlines(keepends=True)


def _divided(codes: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    parts, start = [], 0
    for share in _SHARES:
        stop = start + int(share * len(codes))
        parts.append(codes[start:stop])
        start = stop
    return tuple(parts)


def described(
    text: bytes,
    level: Level,
    vocabulary: int,
    context: int,
    source: str,
    root: Path,
    fingerprint: str = "",
) -> DataInfo:
    """Return the description: a sample is a window of `context` tokens. Raises `OptbenchError` for a text that is too short."""
    made = tokens(text, level, vocabulary, source, root)
    counts = [len(part) for part in _windows(made, context, source)]
    return DataInfo(
        counts[0],
        counts[1],
        counts[2],
        (context,),
        made.vocabulary,
        source,
        fingerprint,
        "language",
        {"vocab_size": made.vocabulary, "token_bytes": tuple(made.token_bytes.tolist())},
    )


def splits(text: bytes, info: DataInfo, level: Level, vocabulary: int, root: Path) -> Splits:
    """Return non-overlapping windows; the target of a position is the next token. Windows are views of one array."""
    made = tokens(text, level, vocabulary, info.source, root, keep=True)
    parts = [Split(part[:, :-1], part[:, 1:]) for part in _windows(made, info.shape[0], info.source)]
    return Splits(parts[0], parts[1], parts[2], info)


def _windows(made: Tokens, context: int, source: str) -> list[npt.NDArray[Any]]:
    """Return windows (n, context + 1) of each part; consecutive windows share one token."""
    from numpy.lib.stride_tricks import sliding_window_view

    if context < 1:
        raise OptbenchError(f"context: expected a whole number of at least 1; found {context}")
    for part in made.parts:
        if len(part) < context + 1:
            counts = ", ".join(str(len(each)) for each in made.parts)
            raise OptbenchError(
                f"{source}: the text is too short for a context of {context}: each of training, validation and test (80, 10 and "
                f"10 %) needs at least {context + 1} tokens; found {counts}"
            )
    return [sliding_window_view(part, context + 1)[::context] for part in made.parts]
