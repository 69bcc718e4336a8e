"""Synthetic images or vectors of any shape, size and difficulty, labelled by a fixed random teacher; no download.

Each sample has up to 8 hidden numbers. The picture (or vector) is the sum of a random pattern for each of
them, plus noise; the label is a function (the teacher) of the hidden numbers. `difficulty` (0..1) changes
the teacher from linear to a sum of absolute values, which linear models cannot represent, and increases the noise.
`label_noise` replaces this fraction of the labels, in every split, by uniformly random classes: the expected
accuracy is then at most 1 - label_noise + label_noise / classes. Patterns of images are smooth and
mirror-symmetric: the label does not change with a flip, and rarely with a small shift.

All sums are of integers below 2^53, exact in any order: the same arguments give the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.catalog.data._split import channel_statistics
from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

#: defaults of `optbench new`
STARTER = {"target": 0.5, "batch_size": 64, "most_epochs": 30}

_HIDDEN = 8
_CHUNK = 512  # samples rendered at a time: bounds the memory of large pictures


def describe(
    root: Path,
    *,
    shape: Sequence[int] = (3, 32, 32),
    train: int = 4096,
    validation: int = 1024,
    test: int = 1024,
    classes: int = 10,
    difficulty: float = 0.3,
    label_noise: float = 0.0,
    seed: int = 0,
) -> DataInfo:
    """Describe the requested sizes. `shape` is [channels, height, width] or [features]. `root` is not used.

    Raises `OptbenchError` for an invalid shape or number.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    problems = []
    if len(shape) not in (1, 3) or not all(isinstance(side, int) and side > 0 for side in shape):
        problems.append(f"shape: expected [channels, height, width] or [features]; found {list(shape)}")
    for name, size in (("train", train), ("validation", validation), ("test", test)):
        if size < 1:
            problems.append(f"{name}: expected at least 1 sample; found {size}")
    if classes < 2:
        problems.append(f"classes: expected at least 2; found {classes}")
    for name, share in (("difficulty", difficulty), ("label_noise", label_noise)):
        if not 0 <= share <= 1:
            problems.append(f"{name}: expected a number from 0 to 1; found {share}")
    if not 0 <= seed < 2**32 - 3:
        problems.append(f"seed: expected 0 or a larger whole number below 2^32 - 3; found {seed}")
    if problems:
        raise OptbenchError(*problems)
    return DataInfo(train, validation, test, shape, classes, f"made from seed {seed}")


def load(
    root: Path,
    *,
    shape: Sequence[int] = (3, 32, 32),
    train: int = 4096,
    validation: int = 1024,
    test: int = 1024,
    classes: int = 10,
    difficulty: float = 0.3,
    label_noise: float = 0.0,
    seed: int = 0,
) -> Splits:
    """Return the samples. Each split and the teacher have separate random streams."""
    info = describe(
        root,
        shape=shape,
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        difficulty=difficulty,
        label_noise=label_noise,
        seed=seed,
    )
    import numpy as np

    random = np.random.RandomState(seed)
    hidden = min(_HIDDEN, int(np.prod(info.shape)))
    patterns = _patterns(random, hidden, info.shape)
    teacher = _teacher(random, hidden, classes, round(difficulty * 64))
    parts = []
    for number, size in enumerate((train, validation, test), start=1):
        own = np.random.RandomState(seed + number * 1_000_003 & 0xFFFFFFFF)
        codes = own.randint(-64, 65, (size, hidden)).astype(np.float64)
        labels = _noisy(own, teacher(codes), classes, label_noise)
        parts.append(Split(_render(own, codes, patterns, info.shape, difficulty), labels))
    mean, std = channel_statistics(parts[0].array) if len(info.shape) == 3 else ((), ())
    return Splits(parts[0], parts[1], parts[2], info, mean, std)


def _patterns(random: np.random.RandomState, hidden: int, shape: tuple[int, ...]) -> Floats:
    """Return integers in -16..16, one pattern per row; patterns of images consist of 4x4 mirror-symmetric tiles."""
    import numpy as np

    if len(shape) == 1:
        return random.randint(-16, 17, (hidden, *shape)).astype(np.float64)
    channels, height, width = shape
    coarse = random.randint(-16, 17, (hidden, channels, 4, 4))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    tiles = coarse[:, :, rows][:, :, :, columns]
    return np.asarray((tiles + tiles[..., ::-1]) // 2, dtype=np.float64).reshape(hidden, -1)


def _teacher(random: np.random.RandomState, hidden: int, classes: int, bent: int) -> Any:
    """Return a function from codes (n, hidden) to labels (n,). `bent` / 64 of a score are sums of absolute values."""
    import numpy as np

    inner = random.randint(-8, 9, (hidden, 2 * hidden)).astype(np.float64)
    outer = random.randint(-8, 9, (2 * hidden, classes)).astype(np.float64)
    linear = random.randint(-8, 9, (hidden, classes)).astype(np.float64)
    sample = random.randint(-64, 65, (4096, hidden)).astype(np.float64)

    # Standardised over a fixed sample, so that the classes are about equally frequent at any difficulty.
    def standard(scores: Floats, reference: Floats) -> Floats:
        centre = np.floor(reference.mean(0))
        spread: Floats = np.sqrt(((reference - centre) ** 2).mean(0)) + 1
        return np.asarray((scores - centre) / spread)

    straight, curved = sample @ linear, np.abs(sample @ inner) @ outer

    def label(codes: Floats) -> npt.NDArray[np.int64]:
        scores = (64 - bent) * standard(codes @ linear, straight)
        scores += bent * standard(np.abs(codes @ inner) @ outer, curved)
        return np.asarray(scores.argmax(1), dtype=np.int64)

    return label


def _noisy(
    random: np.random.RandomState, labels: npt.NDArray[np.int64], classes: int, share: float
) -> npt.NDArray[np.int64]:
    import numpy as np

    replaced = random.random_sample(len(labels)) < share
    return np.where(replaced, random.randint(0, classes, len(labels)), labels).astype(np.int64)


def _render(
    random: np.random.RandomState,
    codes: Floats,
    patterns: Floats,
    shape: tuple[int, ...],
    difficulty: float,
) -> Any:
    """Return uint8 (n, channels, height, width) around 128, or float32 (n, features) around 0.

    The signal has a standard deviation of about 32 (vectors: 1). The noise increases with the number of pixels, since a model
    averages over them: small and large pictures are about equally difficult.
    """
    import numpy as np

    images = len(shape) == 3
    hidden, values = patterns.shape
    noise = (
        min(96, round((4 + 12 * difficulty) * (values / 64) ** 0.5)) if images else round(4 + 12 * difficulty)
    )
    scale = 1 / (12 * hidden**0.5)  # hidden numbers spread by 37, patterns by 9.5
    out = np.empty((len(codes), *shape), dtype=np.uint8 if images else np.float32)
    for start in range(0, len(codes), _CHUNK):
        signal = np.floor(codes[start : start + _CHUNK] @ patterns * scale)
        signal += random.randint(-noise, noise + 1, signal.shape)
        made = np.clip(128 + signal, 0, 255) if images else signal / 32
        out[start : start + _CHUNK] = made.reshape(-1, *shape)
    return out
