"""Decode pictures once, on all cores, into a memory-mapped cache for later runs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.catalog.data._split import channel_statistics
from optbench.cpu_cores import cores
from optbench.errors import OptbenchError, Problem
from optbench.plurals import counted

if TYPE_CHECKING:  # a suite is checked without it
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    Pixels = npt.NDArray[np.uint8]
    Digests = npt.NDArray[np.int64]

_VERSION = 2  # of the cache: raised when a picture would be decoded differently
_NAMED = 10  # offending files that an error lists
_16_BITS_AS_32 = ("PNG", "PPM")  # formats whose 16-bit greys Pillow gives as 32-bit integers
_CHUNK = 32  # pictures a thread takes at a time
_LOG = logging.getLogger("optbench.data")


@dataclass(frozen=True)
class Geometry:
    """Shorter side resized to `resize`, then the central `size` x `size` pixels; `channels` is 1 (grey) or 3 (RGB)."""

    size: int
    resize: int
    channels: int = 3


@dataclass(frozen=True)
class Pictures:
    """`pixels` is uint8 (n, channels, size, size), a read-only memory map where the cache could be written.

    `digests` (n,) are hashes of the pictures in their original size.
    """

    pixels: Pixels
    digests: Digests
    mean: tuple[float, ...]
    std: tuple[float, ...]


def pictures(root: Path, files: Sequence[Path], geometry: Geometry) -> Pictures:
    """Return the decoded files, from `<root>/cache/` if the files (path, size, time) and the geometry are unchanged.

    The cache is written to a temporary name and renamed, so concurrent writers are safe. If it cannot be written, the
    pictures are decoded into memory, with a warning. Raises `OptbenchError` with the names of corrupt pictures.
    """
    import numpy as np

    if not files:
        return Pictures(np.empty(_shape(files, geometry), np.uint8), np.empty(0, np.int64), (), ())
    place = root / "cache" / _key(files, geometry)
    if (found := _read(place, len(files))) is not None:
        return found
    try:
        aside = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
        aside.mkdir(parents=True)
    except OSError as error:
        return _in_memory(files, geometry, place.parent, error)
    try:
        try:
            _write(aside, files, geometry)
        except OSError as error:
            return _in_memory(files, geometry, place.parent, error)
        if place.exists():  # unreadable, or another writer was faster
            if (found := _read(place, len(files))) is not None:
                return found
            shutil.rmtree(place, ignore_errors=True)
        try:
            os.rename(aside, place)
        except OSError:
            _LOG.debug("another process put %s in place", place)
        written = _read(place, len(files))
        assert written is not None
        return written
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def picture(path: Path, geometry: Geometry) -> Pixels:
    """Return one file as uint8 (channels, size, size), equal to torchvision's Resize and CenterCrop.

    The EXIF orientation is applied. Transparent pixels become white, 16-bit greys keep their upper 8 bits.
    Raises OSError, ValueError, SyntaxError or PIL's DecompressionBombError for what cannot be decoded.
    """
    return _fitted(_opened(path, geometry.channels), geometry)


def _opened(path: Path, channels: int) -> Image.Image:
    """Return the picture in its original size, in mode L or RGB."""
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        opened.load()
        image: Image.Image = opened
        if image.mode == "F" or (image.mode == "I" and image.format not in _16_BITS_AS_32):
            raise ValueError(
                f"32-bit {'floats' if image.mode == 'F' else 'integers'} have no known range of values; "
                "expected 8 or 16 bits per channel: convert the picture"
            )
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image).astype(np.int64) // 256).clip(0, 255).astype(np.uint8))
        elif image.has_transparency_data:
            image = image if image.mode == "RGBA" else image.convert("RGBA")
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=image.getchannel("A"))
            image = white
        return image.convert("L" if channels == 1 else "RGB")


def _fitted(image: Image.Image, geometry: Geometry) -> Pixels:
    import numpy as np
    from PIL import Image

    short = min(image.size)
    wide, tall = (geometry.resize * side // short for side in image.size)
    image = image.resize((wide, tall), Image.Resampling.BILINEAR)
    left, top = round((wide - geometry.size) / 2), round((tall - geometry.size) / 2)
    image = image.crop((left, top, left + geometry.size, top + geometry.size))
    return np.asarray(image).reshape(geometry.size, geometry.size, geometry.channels).transpose(2, 0, 1)


def _digest(image: Image.Image) -> int:
    """Return 64 bits of a hash of size and pixels."""
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=8)
    digest.update(image.tobytes())
    return int.from_bytes(digest.digest(), "little", signed=True)


def _key(files: Sequence[Path], geometry: Geometry) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, asdict(geometry)]).encode())
    for path in files:
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:24]


def _read(place: Path, samples: int) -> Pictures | None:
    """Return the cache, None if it is missing or incomplete."""
    import numpy as np

    try:
        about = json.loads((place / "about.json").read_text())
        pixels = np.load(place / "pixels.npy", mmap_mode="r")
        digests = np.load(place / "digests.npy")
    except (OSError, ValueError, EOFError):
        return None
    if not len(pixels) == len(digests) == samples:
        return None
    return Pictures(pixels, digests, tuple(about["mean"]), tuple(about["std"]))


def _write(aside: Path, files: Sequence[Path], geometry: Geometry) -> None:
    import numpy as np

    shape = _shape(files, geometry)
    pixels = np.lib.format.open_memmap(aside / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an OSError here, and a killed process in a sparse map
        with (aside / "pixels.npy").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    digests = _decode_all(files, geometry, pixels)
    pixels.flush()
    np.save(aside / "digests.npy", digests)
    mean, std = channel_statistics(pixels)
    about = {"pictures": len(files), "first": str(files[0]), **asdict(geometry), "mean": mean, "std": std}
    (aside / "about.json").write_text(json.dumps(about, indent=1))


def _in_memory(files: Sequence[Path], geometry: Geometry, folder: Path, error: OSError) -> Pictures:
    import numpy as np

    _LOG.warning(
        "decoding into memory, for this run only: %s cannot be written (%s); choose another data root",
        folder,
        error.strerror or error,
    )
    pixels = np.empty(_shape(files, geometry), np.uint8)
    digests = _decode_all(files, geometry, pixels)
    return Pictures(pixels, digests, *channel_statistics(pixels))


def _shape(files: Sequence[Path], geometry: Geometry) -> tuple[int, int, int, int]:
    return (len(files), geometry.channels, geometry.size, geometry.size)


def _decode_all(files: Sequence[Path], geometry: Geometry, out: Pixels) -> Digests:
    """Fill `out` on all cores and return the hash of each picture.

    Raises OptbenchError with the first ten corrupt files and the number of others.
    """
    import numpy as np

    digests = np.empty(len(files), np.int64)
    corrupt: dict[int, str] = {}
    lock = threading.Lock()
    at_once = cores()

    def work(rows: range) -> int:
        for row in rows:
            try:
                image = _opened(files[row], geometry.channels)
                digests[row] = _digest(image)
                out[row] = _fitted(image, geometry)
            except Exception as error:  # whatever a decoder raises on damaged bytes
                with lock:
                    corrupt[row] = _reason(error)
        return len(rows)

    from PIL import Image

    with warnings.catch_warnings(), ThreadPoolExecutor(at_once, thread_name_prefix="decode") as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as large is an error
        starts = range(0, len(files), _CHUNK)
        _log(pool.map(work, (range(s, min(s + _CHUNK, len(files))) for s in starts)), len(files))
    if corrupt:
        rows = sorted(corrupt)
        problems: list[Problem | str] = [
            Problem(f"cannot be decoded: {corrupt[row]}", file=str(files[row])) for row in rows[:_NAMED]
        ]
        if len(rows) > _NAMED:
            problems.append(f"and {counted(len(rows) - _NAMED, 'more picture')} that cannot be decoded")
        raise OptbenchError(*problems)
    return digests


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "Pillow does not recognise it as a picture"
    return str(error) or type(error).__name__


def _log(counts: Iterator[int], total: int) -> None:
    done, last = 0, time.monotonic()
    _LOG.info("decoding %d pictures", total)
    for count in counts:
        done += count
        if time.monotonic() - last > 2:
            last = time.monotonic()
            _LOG.info("decoded %d of %d pictures", done, total)
