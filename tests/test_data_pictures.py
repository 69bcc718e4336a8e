"""Folders of pictures: found, told apart, decoded once."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from optbench.catalog.data import _decode, image_folder
from optbench.catalog.data._decode import Geometry, picture, pictures
from optbench.catalog.data_sets import describe_data, load_data
from optbench.catalog.types import Splits
from optbench.errors import OptbenchError
from optbench.suite.types import Component


def save(path: Path, seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (20, 14)) -> Path:
    """A smooth random picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.RandomState(seed).randint(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


def grow(folder: Path, **sizes: int) -> Path:
    """`train=6` makes six pictures of each of the classes cat, dog and fox under train/."""
    for split, number in sizes.items():
        for label, name in enumerate(("cat", "dog", "fox")):
            for i in range(number):
                save(folder / split / name / f"{i}.png", seed=100 * label + i)
    return folder


def load(folder: Path, **options: Any) -> Splits:
    return image_folder.load(folder.parent, path=folder.name, size=8, **options)


def sizes(splits: Splits) -> tuple[int, int, int]:
    info = splits.info
    found = tuple(len(part.labels) for part in (splits.train, splits.validation, splits.test))
    assert found == (info.train, info.validation, info.test)
    return found  # type: ignore[return-value]


def test_val_is_the_test_split_and_validation_comes_out_of_train(tmp_path: Path) -> None:
    splits = load(grow(tmp_path / "animals", train=10, val=4))
    assert sizes(splits) == (27, 3, 12)
    assert splits.train.inputs.shape == (27, 3, 8, 8)
    assert splits.info.classes == 3
    assert splits.validation.labels.tolist() == [0, 1, 2]
    assert len(splits.mean) == 3


def test_without_val_a_test_split_is_carved_too(tmp_path: Path) -> None:
    splits = load(grow(tmp_path / "animals", train=10), test=0.3, validation=0.1)
    assert sizes(splits) == (19, 2, 9)
    together = np.concatenate([part.inputs for part in (splits.train, splits.validation, splits.test)])
    assert len(np.unique(together.reshape(30, -1), axis=0)) == 30


def test_with_val_and_test_each_is_what_it_states(tmp_path: Path) -> None:
    assert sizes(load(grow(tmp_path / "animals", train=5, val=2, test=3))) == (15, 6, 9)


def test_an_unlabelled_test_folder_is_no_split(tmp_path: Path) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    save(folder / "test" / "1.png")
    assert sizes(load(folder)) == (27, 3, 12)


@pytest.mark.parametrize("classes", [2, ["dog", "cat"]])
def test_classes_choose_the_subset_in_alphabetical_order(tmp_path: Path, classes: Any) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    splits = load(folder, classes=classes)
    assert sizes(splits) == (18, 2, 8)
    first = picture(folder / "val" / "cat" / "0.png", Geometry(8, 8))
    assert np.array_equal(splits.test.inputs[0], first)
    assert splits.test.labels[0] == 0


def test_images_per_class_thins_the_training_pictures_only(tmp_path: Path) -> None:
    splits = load(grow(tmp_path / "animals", train=10, val=4), images_per_class=5, validation=0.2)
    assert sizes(splits) == (12, 3, 12)


def test_training_pictures_may_be_stored_larger(tmp_path: Path) -> None:
    splits = load(grow(tmp_path / "animals", train=6, val=2), train_size=12, resize=9)
    assert splits.train.inputs.shape[2:] == (12, 12)
    assert splits.validation.inputs.shape[2:] == splits.test.inputs.shape[2:] == (8, 8)
    assert splits.info.shape == (3, 8, 8)


def test_grey_pictures_have_one_channel_if_asked(tmp_path: Path) -> None:
    assert load(grow(tmp_path / "animals", train=6, val=2), channels=1).train.inputs.shape[1:] == (1, 8, 8)


def test_other_files_are_counted_and_hidden_ones_ignored(tmp_path: Path) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    (folder / "train" / "cat" / "notes.txt").write_text("mine")
    (folder / "train" / "cat" / ".DS_Store").write_text("")
    (folder / "train" / ".cache").mkdir()
    save(folder / "train" / "dog" / ".hidden.png")
    info = image_folder.describe(tmp_path, path="animals")
    assert (info.train, info.classes) == (27, 3)
    assert info.source == f"{folder} (1 other file ignored)"


def test_pictures_in_deeper_folders_and_capital_extensions_count(tmp_path: Path) -> None:
    folder = grow(tmp_path / "animals", train=9, val=4)
    save(folder / "train" / "cat" / "more" / "x.JPEG")
    assert image_folder.describe(tmp_path, path="animals").train == 25


def test_corrupt_pictures_are_named_and_counted(tmp_path: Path) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    for i in range(9):
        (folder / "train" / "cat" / f"{i}.png").write_text("no picture")
    for i in range(3):
        whole = save(folder / "val" / "dog" / f"{i}.png").read_bytes()
        (folder / "val" / "dog" / f"{i}.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OptbenchError) as caught:
        load(folder, validation=0)
    assert len(caught.value.problems) == 12
    assert str(folder / "train" / "cat" / "3.png") in str(caught.value)
    assert str(folder / "val" / "dog" / "2.png") in str(caught.value)
    assert not list(tmp_path.glob("cache/*"))
    for i in range(9):
        (folder / "train" / "dog" / f"{i}.png").write_text("no picture")
    with pytest.raises(OptbenchError) as caught:
        load(folder, validation=0)
    assert len(caught.value.problems) == 10 + 1 + 3
    assert "and 8 more pictures" in str(caught.value)


def test_a_truncated_picture_is_corrupt(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", size=(200, 200)).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OptbenchError, match=r"a.jpg: cannot be decoded: .*truncated"):
        pictures(tmp_path, [tmp_path / "a.jpg"], Geometry(8, 8))


def spoil(folder: Path, how: str) -> None:
    if how == "empty":
        for path in (folder / "train" / "cat").iterdir():
            path.unlink()
    elif how == "lacking":
        (folder / "val" / "fox").rename(folder / "val" / "wolf")
    elif how == "no train":
        (folder / "train").rename(folder / "Training")


@pytest.mark.parametrize(
    ("how", "options", "words"),
    [
        ("empty", {}, r"train/cat: has no pictures; expected files that end in .bmp"),
        ("lacking", {}, r"val: has no class folder 'fox'(.|\n)*val: has a class folder 'wolf'"),
        ("no train", {}, r"has no folder 'train'; expected class folders"),
        ("", {"classes": ["cat", "dgo"]}, "no folder 'dgo' in .*; did you mean 'dog'"),
        ("", {"classes": 4}, "expected 2 to 3"),
        ("", {"classes": ["cat", "cat"]}, "2 different names"),
        ("", {"images_per_class": 0}, "images_per_class: expected at least 1"),
        ("", {"validation": 1.5}, "validation: expected a fraction"),
        ("", {"resize": 4}, "resize: expected at least the 8 pixels"),
        ("", {"train_size": 4}, "train_size: expected at least the 8 pixels"),
        ("", {"channels": 4}, r"channels: expected 3 \(RGB\) or 1"),
    ],
)
def test_mistakes_are_explained_before_anything_is_decoded(
    tmp_path: Path, how: str, options: dict[str, Any], words: str
) -> None:
    folder = grow(tmp_path / "animals", train=3, val=2)
    spoil(folder, how)
    with pytest.raises(OptbenchError, match=words):
        image_folder.describe(tmp_path, path="animals", size=8, **options)


def test_a_missing_folder_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    grow(tmp_path / "animals", train=3)
    with pytest.raises(OptbenchError, match=r"animal: is not a folder; .* did you mean 'animals'"):
        image_folder.describe(tmp_path, path="animal")


def test_a_path_starts_from_the_suite_if_it_is_there_else_from_the_data_root(tmp_path: Path) -> None:
    grow(tmp_path / "suite" / "near", train=3, val=2)
    grow(tmp_path / "root" / "far", train=3, val=2)
    for name, place in (("near", tmp_path / "suite"), ("far", tmp_path / "root")):
        data = Component(name="image_folder", arguments={"path": name})
        assert describe_data(data, tmp_path / "root", tmp_path / "suite").source == str(place / name)
    data = Component(name="image_folder", arguments={"path": str(tmp_path / "suite" / "near")})
    assert describe_data(data, tmp_path / "root").train == 8
    data = Component(name="image_folder", arguments={"path": "gone"})
    with pytest.raises(
        OptbenchError,
        match=rf"root/gone: is not a folder.*isn't beside the suite either, in {tmp_path}/suite",
    ):
        describe_data(data, tmp_path / "root", tmp_path / "suite")


# decoding


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".ppm"])
@pytest.mark.parametrize("size", [(20, 14), (14, 20), (9, 40), (5, 5)])
def test_decoding_equals_torchvisions_resize_and_centre_crop(
    tmp_path: Path, suffix: str, size: tuple[int, int]
) -> None:
    path = save(tmp_path / f"a{suffix}", size=size)
    usual = v2.Compose([v2.Resize(11), v2.CenterCrop(8)])
    with Image.open(path) as image:
        expected = np.asarray(usual(image.convert("RGB"))).transpose(2, 0, 1)
    assert np.array_equal(picture(path, Geometry(8, 11)), expected)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "I;16"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        grey = (np.arange(400).reshape(20, 20) * 160).astype(np.uint16)
        Image.fromarray(grey).save(tmp_path / "a.png")
        decoded = picture(tmp_path / "a.png", Geometry(20, 20))
        assert np.array_equal(decoded[0], grey // 256)
    else:
        decoded = picture(save(tmp_path / "a.png", mode=mode), Geometry(8, 8))
        assert decoded.std() > 0
    assert decoded.shape[0] == 3
    if mode in ("L", "LA", "1", "I;16"):
        assert np.array_equal(decoded[0], decoded[2])


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    assert picture(save(tmp_path / "a.jpg", mode="CMYK"), Geometry(8, 8)).shape == (3, 8, 8)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (picture(tmp_path / "a.png", Geometry(9, 9)) == 255).all()


def files(tmp_path: Path, number: int = 40) -> list[Path]:
    return [save(tmp_path / "in" / f"{i:02}.png", seed=i) for i in range(number)]


def test_the_cache_is_used_again_and_only_while_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, geometry = files(tmp_path), Geometry(8, 8)
    first = pictures(tmp_path, paths, geometry)
    assert isinstance(first.pixels, np.memmap)
    decoded: list[Path] = []
    real = _decode._opened

    def counting(path: Path, channels: int) -> Any:
        decoded.append(path)
        return real(path, channels)

    monkeypatch.setattr(_decode, "_opened", counting)
    again = pictures(tmp_path, paths, geometry)
    assert not decoded
    assert np.array_equal(again.pixels, first.pixels)
    assert (again.mean, again.std) == (first.mean, first.std)
    save(paths[3], seed=77)
    os.utime(paths[3], (1, 1))
    changed = pictures(tmp_path, paths, geometry)
    assert len(decoded) == 40
    assert not np.array_equal(changed.pixels[3], first.pixels[3])
    pictures(tmp_path, paths, Geometry(8, 10))
    assert len(decoded) == 80


def test_rows_follow_the_files(tmp_path: Path) -> None:
    paths = files(tmp_path)
    found = pictures(tmp_path, paths, Geometry(8, 8)).pixels
    for row in (0, 31, 32, 39):
        assert np.array_equal(found[row], picture(paths[row], Geometry(8, 8)))


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    paths = files(tmp_path)
    expected = np.array(pictures(tmp_path, paths, Geometry(8, 8)).pixels)
    (file,) = (tmp_path / "cache").glob("*/pixels.npy")
    with file.open("r+b") as opened:
        opened.truncate(1000)
    assert np.array_equal(pictures(tmp_path, paths, Geometry(8, 8)).pixels, expected)


def test_two_writers_at_once_both_get_the_pictures(tmp_path: Path) -> None:
    paths = files(tmp_path)
    with ProcessPoolExecutor(2) as pool:
        sums = list(pool.map(total, [tmp_path] * 4, [paths] * 4))
    assert len(set(sums)) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def total(root: Path, paths: list[Path]) -> int:
    return int(pictures(root, paths, Geometry(8, 8)).pixels.sum())


def test_a_root_that_cannot_be_written_means_decoding_into_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = files(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    found = pictures(blocked, paths, Geometry(8, 8))
    assert not isinstance(found.pixels, np.memmap)
    assert np.array_equal(found.pixels, pictures(tmp_path, paths, Geometry(8, 8)).pixels)
    assert "cannot be written" in caplog.text


def test_a_full_disk_means_decoding_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    found = pictures(tmp_path, files(tmp_path), Geometry(8, 8))
    assert not isinstance(found.pixels, np.memmap)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_cache_is_for_others_to_read(tmp_path: Path) -> None:
    pictures(tmp_path, files(tmp_path), Geometry(8, 8))
    (folder,) = (tmp_path / "cache").iterdir()
    before = os.umask(0)
    os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~before


# pictures that are not stored as viewers show them


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_rotated_by_their_exif_orientation(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    upright = np.zeros((24, 16, 3), np.uint8)
    upright[:12, :8], upright[:12, 8:], upright[12:, :8] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    turns = Image.Transpose
    stored_by = {2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM}
    stored_by |= {5: turns.TRANSPOSE, 6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270}
    image = Image.fromarray(upright)
    if orientation in stored_by:
        image = image.transpose(stored_by[orientation])
    tags = Image.Exif()
    tags[0x0112] = orientation
    image.save(tmp_path / f"a{suffix}", exif=tags, quality=100)
    expected = picture(save_array(tmp_path / "plain.png", upright), Geometry(16, 16))
    difference = picture(tmp_path / f"a{suffix}", Geometry(16, 16)).astype(int) - expected
    assert np.abs(difference).mean() < 20


def save_array(path: Path, array: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize(("dtype", "words"), [(np.int32, "32-bit integers"), (np.float32, "32-bit floats")])
def test_pictures_without_a_known_range_are_refused_by_name(tmp_path: Path, dtype: Any, words: str) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    save_array(folder / "train" / "cat" / "deep.tif", np.arange(400, dtype=dtype).reshape(20, 20))
    with pytest.raises(
        OptbenchError, match=rf"train/cat/deep\.tif: cannot be decoded: {words} have no known"
    ):
        load(folder)


def test_a_16_bit_pgm_keeps_its_upper_8_bits(tmp_path: Path) -> None:
    grey = (np.arange(400).reshape(20, 20) * 160).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5\n20 20\n65535\n" + grey.tobytes())
    assert np.array_equal(picture(tmp_path / "a.pgm", Geometry(20, 20))[0], grey // 256)


# links


@pytest.mark.parametrize("link", ["train/cat/again -> .", "train/cat/0b.png -> 0.png", "train/cat/x/y -> .."])
def test_a_link_to_what_the_class_has_already_is_ignored_and_reported(tmp_path: Path, link: str) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    make_link(folder, link)
    assert sizes(load(folder)) == (27, 3, 12)
    assert "1 link ignored" in image_folder.describe(tmp_path, path="animals").source
    assert any("1 link ignored" in note for note in load(folder).notes)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("train/dog/x.png -> ../cat/0.png", r"train/dog/x\.png: is the same as .*train/cat/0\.png"),
        ("train/dog/x.png -> ../../val/cat/0.png", r"train/dog/x\.png: is the same as .*val/cat/0\.png"),
        ("val/dog/more -> ../../train/dog", r"val/dog/more: is the same as .*train/dog"),
        ("train/cat/all -> ..", r"train/cat/all/dog"),
        ("test -> val", r"test/cat: is the same as .*val/cat"),
        ("train/cat/x.png -> nowhere", r"train/cat/x\.png: is a link to a missing file"),
    ],
)
def test_a_link_to_another_class_or_split_is_refused(tmp_path: Path, link: str, words: str) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    make_link(folder, link)
    with pytest.raises(OptbenchError, match=words):
        image_folder.describe(tmp_path, path="animals")


def make_link(folder: Path, link: str) -> None:
    name, _, target = link.partition(" -> ")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(target)


def test_links_to_pictures_elsewhere_are_followed(tmp_path: Path) -> None:
    folder = grow(tmp_path / "animals", train=10, val=4)
    make_link(folder, f"train/cat/x.png -> {save(tmp_path / 'pool' / 'x.png', seed=999)}")
    assert image_folder.describe(tmp_path, path="animals").train == 28


def test_the_same_picture_in_two_splits_is_reported_whatever_their_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "animals"
    for label, name in enumerate(("cat", "dog")):
        for i in range(10):
            save(folder / "train" / name / f"{i}.png", seed=100 * label + i)
        save(folder / "val" / name / "0.png", seed=50 + label)
    save(folder / "val" / "cat" / "1.bmp", seed=3)
    save(folder / "val" / "cat" / "2.png", seed=103)
    data = Component(name="image_folder", arguments={"path": "animals", "size": 8, "train_size": 10})
    found = load_data(data.model_copy(update={"arguments": {**data.arguments, "validation": 0.05}}), tmp_path)
    assert found.notes == ("2 of 4 test samples are also training samples (1 with another label)",)
