"""Checks of data after they are loaded, before any optimizer sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optbench.catalog.task_types import task_module
from optbench.catalog.tasks.language import IGNORED
from optbench.catalog.types import Split, Splits, named_arrays
from optbench.errors import OptbenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NAMED = 5  # rows that a message lists
_CHUNK = 1 << 22  # values that are checked at a time
_COMPARED_BYTES = 4_000_000_000  # inputs of more bytes, without digests, are not searched for duplicates


def checked(name: str, splits: Splits) -> Splits:
    """Return `splits` with a checksum, and with notes: classes without training samples, pictures of one colour, duplicates.

    Checks types, shapes, lengths, labels and that every number is finite. `name` is the data set's. Raises OptbenchError with
    one problem per fault.
    """
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    if splits.info.task != "classification":
        return _checked_arrays(name, splits, parts)
    problems = [problem for title, part in parts.items() for problem in _form_problems(title, part)]
    if not problems:
        problems = [*_info_problems(splits), *_statistics_problems(splits)]
        for title, part in parts.items():
            problems += [*_label_problems(title, part, splits.info.classes), *_value_problems(title, part)]
    if problems:
        raise OptbenchError(*(f"data {name}: {problem}" for problem in problems))
    notes = (*splits.notes, *_class_notes(splits), *_plain_notes(parts), *_duplicate_notes(parts))
    return replace(splits, notes=notes, checksum=_checksum(parts))


def _checked_arrays(name: str, splits: Splits, parts: dict[str, Split]) -> Splits:
    """Check data of other tasks: lengths, finite numbers and the range of integers. Return them with a checksum."""
    info = splits.info
    limits = task_module(info.task).limits(info)
    problems = []
    for title, part, samples in zip(
        parts, parts.values(), (info.train, info.validation, info.test), strict=True
    ):
        arrays = named_arrays(part.inputs, "inputs") | named_arrays(part.targets, "targets")
        for key, array in arrays.items():
            if len(array) != samples:
                problems.append(f"expected {samples} {title} {key}; found {len(array)}")
            else:
                problems += array_problems(f"{title} {key}", array, limits.get(key))
    if problems:
        raise OptbenchError(*(f"data {name}: {problem}" for problem in problems))
    return replace(splits, checksum=_checksum_of([a for part in parts.values() for a in _arrays_of(part)]))


def _arrays_of(part: Split) -> list[npt.NDArray[Any]]:
    named = [named_arrays(part.inputs, "inputs"), named_arrays(part.targets, "targets")]
    return [array for arrays in named for array in arrays.values()]


def array_problems(title: str, array: npt.NDArray[Any], limit: int | None) -> Iterator[str]:
    """Yield numbers that are not finite, or integers that are neither below `limit` (None: unbounded) nor mark a masked position."""
    import numpy as np

    some = max(1, _CHUNK // max(1, array[0].size if len(array) else 1))
    for start in range(0, len(array), some):
        chunk = array[start : start + some]
        if array.dtype.kind == "f":
            rows = np.flatnonzero(~np.isfinite(chunk).reshape(len(chunk), -1).all(1))
            if len(rows):
                yield f"{title} has values that are not finite ({_rows(start + rows)})"
                return
        elif limit is not None:
            wrong = ((chunk < 0) & (chunk != IGNORED)) | (chunk >= limit)
            rows = np.flatnonzero(wrong.reshape(len(chunk), -1).any(1))
            if len(rows):
                value = chunk[wrong].flat[0]
                yield f"expected {title} from 0 to {limit - 1}; found {value} ({_rows(start + rows)})"
                return


def _form_problems(title: str, split: Split) -> Iterator[str]:
    import numpy as np

    inputs: Any = split.inputs
    labels = split.labels
    kinds = (("uint8", 4), ("float32", 2))
    if not isinstance(inputs, np.ndarray) or (inputs.dtype.name, inputs.ndim) not in kinds:
        yield (
            f"expected {title} inputs as uint8 (n, channels, height, width) or float32 (n, features); "
            f"found {_described(inputs)}"
        )
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.ndim != 1:
        yield f"expected {title} labels as whole numbers (n,); found {_described(labels)}"
    elif len(labels) != len(inputs):
        yield f"expected as many {title} labels as inputs, {len(inputs)}; found {len(labels)}"


def _info_problems(splits: Splits) -> Iterator[str]:
    """Return differences from the description. Training images may be larger, for random resized crops."""
    info = splits.info
    for title, part, samples in (
        ("training", splits.train, info.train),
        ("validation", splits.validation, info.validation),
        ("test", splits.test, info.test),
    ):
        if len(part.labels) != samples:
            yield f"expected the {samples} {title} samples of its description; found {len(part.labels)}"
        shape, expected = part.array.shape[1:], tuple(info.shape)
        is_image = len(shape) == len(expected) == 3 and shape[0] == expected[0]
        is_larger = is_image and all(a >= b for a, b in zip(shape, expected, strict=True))
        if shape != expected and not (part is splits.train and is_larger):
            yield f"expected {title} inputs of shape {expected}; found {shape}"


def _statistics_problems(splits: Splits) -> Iterator[str]:
    import numpy as np

    channels = splits.train.array.shape[1] if splits.train.array.ndim == 4 else 0
    for title, values in (("mean", splits.mean), ("std", splits.std)):
        if len(values) != channels:
            yield f"expected '{title}' with {channels} values, one per channel of images; found {len(values)}"
        elif not np.isfinite(values).all() or (title == "std" and min(values, default=1) <= 0):
            yield f"expected finite numbers in '{title}', above 0 in 'std'; found {list(values)}"


def _label_problems(title: str, split: Split, classes: int) -> Iterator[str]:
    import numpy as np

    rows = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
    if len(rows):
        yield (
            f"expected {title} labels from 0 to {classes - 1}; found {split.labels[rows[0]]} ({_rows(rows)})"
        )


def _value_problems(title: str, split: Split) -> Iterator[str]:
    import numpy as np

    if split.array.dtype.kind != "f":
        return
    count, rows = 0, []
    some = max(1, _CHUNK // max(1, split.array.shape[1]))
    for start in range(0, len(split.array), some):
        wrong = ~np.isfinite(split.array[start : start + some])
        if wrong.any():
            count += int(wrong.sum())
            rows += (start + np.flatnonzero(wrong.any(1))).tolist()
    if count:
        verb = "value of the {} inputs is" if count == 1 else "values of the {} inputs are"
        yield f"{count:,} {verb.format(title)} not finite ({_rows(rows)})"


def _class_notes(splits: Splits) -> Iterator[str]:
    import numpy as np

    lacking = splits.info.classes - len(np.unique(splits.train.labels))
    if lacking:
        has = "has" if lacking == 1 else "have"
        yield f"{lacking} of {splits.info.classes} classes {has} no training samples"


def _plain_notes(parts: dict[str, Split]) -> Iterator[str]:
    """Report pictures of one colour, which suggest a wrong value range."""
    if _is_too_large(parts):
        return
    for title, part in parts.items():
        images = part.array
        if images.ndim != 4 or images.shape[2] * images.shape[3] < 2:
            continue
        corner = images[:, :, :1, :1]
        rows = (
            (images[:, :, :: max(1, images.shape[2] // 4), images.shape[3] // 2 :: 3] == corner)
            .all((1, 2, 3))
            .nonzero()[0]
        )
        plain = sum(bool((images[row] == corner[row]).all()) for row in rows)
        if plain:
            yield f"{plain:,} of {len(images):,} {title} pictures have only one colour"


def _duplicate_notes(parts: dict[str, Split]) -> Iterator[str]:
    """Report inputs that occur in two splits, compared by their hashes."""
    if any(part.digests is None for part in parts.values()):
        if _is_too_large(parts):
            return
        parts = {title: replace(part, digests=_row_hashes(part.array)) for title, part in parts.items()}
    for title, other in (("validation", "training"), ("test", "training"), ("test", "validation")):
        repeated, contrary = _common_samples(parts[title], parts[other])
        if repeated:
            samples = len(parts[title].labels)
            labels = f" ({contrary:,} with another label)" if contrary else ""
            yield f"{repeated:,} of {samples:,} {title} samples are also {other} samples{labels}"


def _checksum(parts: dict[str, Split]) -> str:
    """Return eight hexadecimal digits of a hash of all samples and labels in order; "" if the inputs are too large to read."""
    if _is_too_large(parts) and any(part.digests is None for part in parts.values()):
        return ""
    pairs = [(part.array if part.digests is None else part.digests, part.labels) for part in parts.values()]
    return _checksum_of([array for pair in pairs for array in pair])


def _checksum_of(arrays: list[Any]) -> str:
    import zlib

    import numpy as np

    if sum(array.nbytes for array in arrays) > _COMPARED_BYTES:
        return ""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return f"{value:08x}"


def _is_too_large(parts: dict[str, Split]) -> bool:
    return sum(part.array.nbytes for part in parts.values()) > _COMPARED_BYTES


def _row_hashes(inputs: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return Python's hash of the bytes of each row: 25 ms for the 55 MB of Fashion-MNIST."""
    import numpy as np

    return np.fromiter((hash(row.tobytes()) for row in inputs), np.int64, len(inputs))


def _common_samples(split: Split, other: Split) -> tuple[int, int]:
    """Return how many samples of `split` are in `other`, and how many of these have another label there."""
    import numpy as np

    if not len(split.labels) or not len(other.labels):
        return 0, 0
    assert split.digests is not None
    assert other.digests is not None
    known, rows = np.unique(other.digests, return_index=True)
    places = np.searchsorted(known, split.digests).clip(max=len(known) - 1)
    same = known[places] == split.digests
    contrary = same & (other.labels[rows[places]] != split.labels)
    return int(same.sum()), int(contrary.sum())


def _described(values: Any) -> str:
    dtype, shape = getattr(values, "dtype", None), getattr(values, "shape", None)
    return f"{dtype} {tuple(shape)}" if dtype is not None and shape is not None else type(values).__name__


def _rows(rows: Any) -> str:
    """Return `row 7`, or `rows 7, 9 and 3 more`."""
    text = ", ".join(str(row) for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {text}{more}"
