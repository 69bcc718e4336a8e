"""Texts as windows of tokens: characters or bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Level = Literal["char", "byte"]
_SHARES = (0.8, 0.1, 0.1)  # of the text, in order: training, validation, test


def tokens(text: bytes, level: Level, source: str) -> tuple[npt.NDArray[np.generic], int]:
    """Return the tokens of a text and the size of the vocabulary: 256 bytes, or the characters that occur. Raises `OptbenchError`."""
    import numpy as np

    if level == "byte":
        return np.frombuffer(text, np.uint8), 256
    if level != "char":
        raise OptbenchError(f"level: expected char or byte; found {level!r}")
    try:
        points = np.frombuffer(text.decode("utf-8").encode("utf-32-le"), np.uint32)
    except UnicodeDecodeError as error:
        raise OptbenchError(f"{source}: byte {error.start} is not UTF-8: use level: byte") from error
    symbols, codes = np.unique(points, return_inverse=True)
    return codes.astype(np.uint16 if len(symbols) > 256 else np.uint8), max(2, len(symbols))


def described(text: bytes, level: Level, context: int, source: str, fingerprint: str = "") -> DataInfo:
    """Return the description: a sample is a window of `context` tokens. Raises `OptbenchError` for a text that is too short."""
    codes, vocabulary = tokens(text, level, source)
    counts = [len(part) for part in _parts(codes, context, source)]
    return DataInfo(
        counts[0],
        counts[1],
        counts[2],
        (context,),
        vocabulary,
        source,
        fingerprint,
        "language",
        {"vocab_size": vocabulary},
    )


def splits(text: bytes, info: DataInfo, level: Level) -> Splits:
    """Return non-overlapping windows; the target of a position is the next token. Windows are views of one array."""
    codes, _ = tokens(text, level, info.source)
    parts = [Split(part[:, :-1], part[:, 1:]) for part in _parts(codes, info.shape[0], info.source)]
    return Splits(parts[0], parts[1], parts[2], info)


def _parts(codes: npt.NDArray[Any], context: int, source: str) -> list[npt.NDArray[Any]]:
    """Return windows (n, context + 1) of each part; consecutive windows share one token."""
    from numpy.lib.stride_tricks import sliding_window_view

    if context < 1:
        raise OptbenchError(f"context: expected a whole number of at least 1; found {context}")
    parts, start = [], 0
    for share in _SHARES:
        stop = start + int(share * len(codes))
        part = codes[start:stop]
        if len(part) < context + 1:
            raise OptbenchError(
                f"{source}: {len(codes)} tokens are too few for a context of {context}: each of training, validation and test "
                f"(80, 10 and 10 %) needs at least {context + 1}"
            )
        parts.append(sliding_window_view(part, context + 1)[::context])
        start = stop
    return parts
