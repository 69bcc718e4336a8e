"""Trees of class folders: the split and label of each picture, from file names only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.catalog.data._decode import Geometry, pictures
from optbench.catalog.data._listing import EXTENSIONS, Lister, raise_first
from optbench.catalog.data._split import carve
from optbench.catalog.types import DataInfo, Split, Splits
from optbench.errors import OptbenchError, Problem, nearest

if TYPE_CHECKING:
    from optbench.catalog.data._split import Labels

_VALIDATION = ("val", "valid", "validation")


@dataclass(frozen=True)
class Files:
    """Pictures of one split with their labels."""

    paths: tuple[Path, ...]
    labels: Labels

    def part(self, rows: Labels) -> Files:
        return Files(tuple(self.paths[row] for row in rows), self.labels[rows])


@dataclass(frozen=True)
class Tree:
    """The files of each split.

    `others` counts files without an image extension, `repeated` counts links to pictures that their class already has.
    """

    train: Files
    validation: Files
    test: Files
    classes: tuple[str, ...]
    others: int
    repeated: int


def tree(
    folder: Path,
    *,
    classes: int | Sequence[str] | None = None,
    images_per_class: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
) -> Tree:
    """Return the files of `folder/train/<class>/...`, and of `folder/val/<class>/...` as the test split; validation is carved from train.

    If both `val/` and `test/` have class folders, they are the validation and the test split. If neither has, the fraction `test` of
    the training pictures is the test split. Classes are numbered in alphabetical order; `classes` is their number, or a list of names.
    `images_per_class` limits the pictures under `train/`, chosen evenly at random but always the same. Hidden files are
    ignored. Raises `OptbenchError` for classes that are missing, empty, or different between splits.
    """
    if not (folder / "train").is_dir():
        raise OptbenchError(_missing_folder_problem(folder))
    known = _folders(folder / "train")
    chosen = _selected_classes(known, classes, folder / "train")
    held = next((folder / name for name in _VALIDATION if _folders(folder / name)), None)
    tested = folder / "test" if _folders(folder / "test") else None
    for part in (held, tested):
        if part is not None:
            _check_same(known, chosen, _folders(part), folder / "train", part, everything=classes is None)
    lister = Lister()
    train = _list_pictures(folder / "train", chosen, lister)
    parts = {}
    for name, place in (("held", held), ("tested", tested)):
        if place is not None:
            parts[name] = _list_pictures(place, chosen, lister)
    lister.raise_problems()
    if images_per_class is not None:
        train = _limited_per_class(train, images_per_class)
    final = parts.pop("tested", None) or parts.pop("held", None)
    if final is None:
        train, final = _split(train, test, "test")
    if "held" in parts:
        return Tree(train, parts["held"], final, chosen, lister.others, lister.repeated)
    train, carved = _split(train, validation, "validation")
    return Tree(train, carved, final, chosen, lister.others, lister.repeated)


def described(found: Tree, shape: tuple[int, int, int], folder: Path) -> DataInfo:
    others = (
        f"{found.others} other {'file' if found.others == 1 else 'files'} ignored" if found.others else ""
    )
    ignored = ", ".join(text for text in (others, _note_on_links(found)) if text)
    train, validation, test = (len(part.paths) for part in (found.train, found.validation, found.test))
    source = f"{folder} ({ignored})" if ignored else str(folder)
    return DataInfo(train, validation, test, shape, len(found.classes), source, _fingerprint(found, folder))


def _fingerprint(found: Tree, folder: Path) -> str:
    """Return a hash of the names and sizes of all pictures: added, removed or replaced pictures change it, copying the folder does not."""
    digest = hashlib.sha256()
    for path in sorted({*found.train.paths, *found.validation.paths, *found.test.paths}):
        digest.update(
            f"{path.relative_to(folder)}\0{path.stat().st_size}\n".encode("utf-8", "surrogateescape")
        )
    return digest.hexdigest()


def decoded(found: Tree, info: DataInfo, root: Path, training: Geometry, evaluation: Geometry) -> Splits:
    """Return the decoded splits. Training pictures may be larger than `info.shape`, for random resized crops."""
    made = []
    problems: list[Problem] = []
    parts = ((found.train, training), (found.validation, evaluation), (found.test, evaluation))
    for part, geometry in parts:
        try:
            made.append(pictures(root, part.paths, geometry))
        except OptbenchError as error:  # corrupt pictures of all splits are reported together
            problems += error.problems
    if problems:
        raise OptbenchError(*problems)
    train, validation, test = made
    return Splits(
        Split(train.pixels, found.train.labels, train.digests),
        Split(validation.pixels, found.validation.labels, validation.digests),
        Split(test.pixels, found.test.labels, test.digests),
        info,
        train.mean,
        train.std,
        notes=(_note_on_links(found),) if found.repeated else (),
    )


def geometries(
    size: int,
    resize: int | None,
    train_size: int | None,
    channels: int = 3,
    names: tuple[str, str] = ("size", "train_size"),
) -> tuple[Geometry, Geometry]:
    """Return the geometry of training and of evaluation. Raises `OptbenchError`, with the arguments' `names`, for invalid sizes."""
    problems = []
    if size < 1:
        problems.append(f"{names[0]}: expected at least 1 pixel; found {size}")
    if resize is not None and resize < size:
        problems.append(f"resize: expected at least the {size} pixels that are cut out of it; found {resize}")
    if train_size is not None and train_size < size:
        problems.append(f"{names[1]}: expected at least the {size} pixels of a picture; found {train_size}")
    if channels not in (1, 3):
        problems.append(f"channels: expected 3 (RGB) or 1 (grey); found {channels}")
    if problems:
        raise OptbenchError(*problems)
    evaluation = Geometry(size, resize or size, channels)
    return (Geometry(train_size, train_size, channels) if train_size else evaluation), evaluation


def _folders(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    with os.scandir(folder) as entries:
        return tuple(sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".")))


def _missing_folder_problem(folder: Path) -> Problem:
    expected = "expected class folders in it: train/<class>/*.jpg, and perhaps val/<class>/*.jpg"
    if folder.is_dir():
        return Problem(f"has no folder 'train'; {expected}", file=str(folder))
    beside = _folders(folder.parent)
    return Problem(
        f"is not a folder; {expected}" + (f"; {nearest(folder.name, beside)}" if beside else ""),
        file=str(folder),
    )


def _selected_classes(
    known: tuple[str, ...], classes: int | Sequence[str] | None, place: Path
) -> tuple[str, ...]:
    if len(known) < 2:
        raise OptbenchError(f"expected at least 2 class folders; found {len(known)}", file=str(place))
    if classes is None:
        return known
    if isinstance(classes, int):
        if not 2 <= classes <= len(known):
            raise OptbenchError(
                f"classes: expected 2 to {len(known)}, the folders in {place}; found {classes}"
            )
        return known[:classes]
    unknown = [name for name in classes if name not in known]
    if unknown:
        raise OptbenchError(
            *(f"classes: no folder '{name}' in {place}; {nearest(name, known)}" for name in unknown)
        )
    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise OptbenchError(f"classes: expected at least 2 different names; found {list(classes)}")
    return tuple(sorted(classes))


def _check_same(
    known: tuple[str, ...],
    chosen: tuple[str, ...],
    there: tuple[str, ...],
    train: Path,
    part: Path,
    *,
    everything: bool,
) -> None:
    lacking = sorted(set(chosen) - set(there))
    surplus = sorted(set(there) - set(known)) if everything else []
    problems = [Problem(f"has no class folder '{name}', and {train} has", file=str(part)) for name in lacking]
    problems += [
        Problem(f"has a class folder '{name}', and {train} has not", file=str(part)) for name in surplus
    ]
    raise_first(problems, "folder")


def _list_pictures(place: Path, chosen: tuple[str, ...], lister: Lister) -> Files:
    """Return all pictures of the selected classes. Raises `OptbenchError` for classes without pictures."""
    import numpy as np

    paths: list[Path] = []
    counts, problems = [], []
    for name in chosen:
        found = lister.pictures(place / name)
        if not found:
            expected = ", ".join(sorted(EXTENSIONS))
            problems.append(
                Problem(f"has no pictures; expected files that end in {expected}", file=str(place / name))
            )
        paths += found
        counts.append(len(found))
    if problems:
        lister.raise_problems()  # they explain why a folder looks empty
    raise_first(problems, "folder")
    return Files(tuple(paths), np.repeat(np.arange(len(chosen), dtype=np.int64), counts))


def _note_on_links(found: Tree) -> str:
    """Return a note about skipped links; "" if there were none."""
    if found.repeated == 1:
        return "1 link ignored: its class has the picture or folder already"
    return f"{found.repeated} links ignored: their class has the pictures already" if found.repeated else ""


def _limited_per_class(files: Files, limit: int) -> Files:
    import numpy as np

    if limit < 1:
        raise OptbenchError(f"images_per_class: expected at least 1; found {limit}")
    random = np.random.RandomState(0)
    rows = [
        random.permutation(np.flatnonzero(files.labels == label))[:limit] for label in np.unique(files.labels)
    ]
    return files.part(np.sort(np.concatenate(rows)))


def _split(files: Files, fraction: float, name: str) -> tuple[Files, Files]:
    try:
        kept, taken = carve(files.labels, fraction)
    except OptbenchError as error:
        raise OptbenchError(f"{name}: {error}") from None
    return files.part(kept), files.part(taken)
