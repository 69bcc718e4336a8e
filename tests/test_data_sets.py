"""The catalog's data sets: what `describe` promises, `load` keeps."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import pickle
import subprocess
import sys
import tarfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from optbench.analysis.warnings import warnings_frame
from optbench.catalog.data import digits, fashion_mnist, synthetic
from optbench.catalog.data._download import fetch
from optbench.catalog.data._split import carve, channel_statistics
from optbench.catalog.data_root import data_root
from optbench.catalog.data_sets import describe_data, load_data
from optbench.catalog.lookup import items
from optbench.catalog.types import Split, Splits
from optbench.errors import OptbenchError
from optbench.store import read
from optbench.suite.load import load as load_suite
from optbench.suite.types import Component
from results_builder import write_trials
from trials import run, started, trials

SYSTEM_COPY = Path("/usr/share/datasets/fashion-mnist")


def module(name: str) -> ModuleType:
    return import_module(f"optbench.catalog.data.{name}")


def check_promise(splits: Splits) -> None:
    """What every data set owes: sizes as described, types and ranges as the contract says."""
    info = splits.info
    for size, split in zip(
        (info.train, info.validation, info.test), (splits.train, splits.validation, splits.test), strict=True
    ):
        assert split.inputs.shape == (size, *info.shape)
        assert split.labels.shape == (size,)
        assert split.labels.dtype == np.int64
        assert 0 <= split.labels.min() <= split.labels.max() < info.classes
        assert split.inputs.dtype == (np.uint8 if len(info.shape) == 3 else np.float32)
    assert len(splits.mean) == len(splits.std) == (info.shape[0] if len(info.shape) == 3 else 0)


def same(left: Split, right: Split) -> bool:
    return np.array_equal(left.inputs, right.inputs) and np.array_equal(left.labels, right.labels)


@pytest.mark.parametrize("name", items("data"))
def test_describe_and_load_take_the_same_arguments(name: str) -> None:
    describe, load = (inspect.signature(getattr(module(name), f)) for f in ("describe", "load"))
    assert describe.parameters == load.parameters
    assert all(p.kind is p.KEYWORD_ONLY for p in list(describe.parameters.values())[1:])


@pytest.mark.parametrize(
    ("name", "sizes", "shape"),
    [
        ("digits", (1079, 359, 359), (1, 8, 8)),
        ("fashion_mnist", (54_000, 6_000, 10_000), (1, 28, 28)),
        ("cifar10", (45_000, 5_000, 10_000), (3, 32, 32)),
        ("imagenette", (8_522, 947, 3_925), (3, 128, 128)),
    ],
)
def test_published_sizes_are_known_without_the_files(
    tmp_path: Path, name: str, sizes: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    info = module(name).describe(tmp_path)
    assert ((info.train, info.validation, info.test), info.shape) == (sizes, shape)


# digits


def test_digits_keep_their_promise(tmp_path: Path) -> None:
    splits = digits.load(tmp_path)
    check_promise(splits)
    assert splits.train.inputs.max() == 255
    assert splits.info == digits.describe(tmp_path)


def test_digits_are_disjoint_complete_and_stratified(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    splits = digits.load(tmp_path)
    parts = (splits.train, splits.validation, splits.test)
    together = np.concatenate([np.column_stack([p.inputs.reshape(-1, 64), p.labels]) for p in parts])
    original = np.column_stack([np.rint(load_digits().data * (255 / 16)), load_digits().target]).astype(int)
    assert np.array_equal(together[np.lexsort(together.T)], original[np.lexsort(original.T)])
    for part in parts:
        shares = np.bincount(part.labels, minlength=10) / len(part.labels)
        assert shares == pytest.approx(np.bincount(load_digits().target) / 1797, abs=0.005)


def test_digits_are_read_without_the_import_of_scikit_learn() -> None:
    code = (
        "import sys; from pathlib import Path; from optbench.catalog.data import digits; digits.load(Path())\n"
        "assert not {'sklearn', 'scipy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# synthetic


@pytest.mark.parametrize("shape", [[3, 8, 8], [1, 5, 7], [20], [1]])
def test_synthetic_keeps_its_promise_for_any_shape(tmp_path: Path, shape: list[int]) -> None:
    check_promise(synthetic.load(tmp_path, shape=shape, train=60, validation=20, test=30, classes=4))


def test_synthetic_is_the_same_bytes_everywhere(tmp_path: Path) -> None:
    digest = hashlib.sha256()
    for shape in ([3, 8, 8], [20]):
        splits = synthetic.load(tmp_path, shape=shape, train=100, validation=20, test=20, label_noise=0.2)
        for part in (splits.train, splits.validation, splits.test):
            digest.update(part.inputs.tobytes() + part.labels.tobytes())
    assert digest.hexdigest()[:16] == "f6fc595d4e12156b"


def test_synthetic_seeds_and_splits_differ(tmp_path: Path) -> None:
    one = synthetic.load(tmp_path, train=50, validation=50, test=50)
    other = synthetic.load(tmp_path, train=50, validation=50, test=50, seed=1)
    assert not same(one.train, other.train)
    assert not same(one.train, one.validation)
    assert not same(one.validation, one.test)


def learned(inputs: Any, splits: Splits, model: Any) -> float:
    model.fit(inputs(splits.train), splits.train.labels)
    return float(model.score(inputs(splits.test), splits.test.labels))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [[1, 12, 12], [20]])
def test_synthetic_is_learnable_and_harder_settings_are_harder(tmp_path: Path, shape: list[int]) -> None:
    from sklearn.neural_network import MLPClassifier

    scores = []
    for difficulty in (0.0, 0.5, 1.0):
        splits = synthetic.load(tmp_path, shape=shape, train=3000, difficulty=difficulty, classes=5)
        mean, std = (splits.mean or (0,))[0], (splits.std or (1,))[0]
        mlp = MLPClassifier((64,), max_iter=25, random_state=0)
        scores.append(
            learned(lambda s, m=mean, d=std: (s.inputs.reshape(len(s.labels), -1) - m) / d, splits, mlp)
        )
    assert scores[0] > 0.8
    assert scores[0] > scores[1] + 0.05
    assert scores[1] > scores[2] + 0.02
    assert scores[2] > 0.35


@pytest.mark.filterwarnings("ignore")
def test_the_hardest_teacher_is_beyond_a_linear_model(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    splits = synthetic.load(tmp_path, shape=[20], train=2000, difficulty=1.0, classes=5)
    assert learned(lambda s: s.inputs, splits, LogisticRegression(max_iter=200)) < 0.3


def test_label_noise_replaces_its_share_of_the_labels_in_every_split(tmp_path: Path) -> None:
    options: dict[str, Any] = {"shape": [8], "train": 8000, "validation": 8000, "test": 8000, "classes": 4}
    clean, noisy = synthetic.load(tmp_path, **options), synthetic.load(tmp_path, label_noise=0.4, **options)
    for name in ("train", "validation", "test"):
        kept = (getattr(clean, name).labels == getattr(noisy, name).labels).mean()
        assert kept == pytest.approx(1 - 0.4 + 0.4 / 4, abs=0.02)


def test_senseless_synthetic_settings_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(OptbenchError) as caught:
        synthetic.describe(tmp_path, shape=[3, 8], train=0, classes=1, difficulty=2, label_noise=-1)
    assert [p.message.split(":")[0] for p in caught.value.problems] == [
        "shape",
        "train",
        "classes",
        "difficulty",
        "label_noise",
    ]


# carving and statistics


def test_carving_is_stratified_disjoint_and_exact_in_size() -> None:
    labels = np.repeat([0, 1, 2], [101, 57, 12])
    kept, taken = carve(labels, 0.1)
    assert len(taken) == 17
    assert sorted([*kept, *taken]) == list(range(170))
    assert np.bincount(labels[taken]).tolist() == [10, 6, 1]
    assert np.array_equal(taken, carve(labels, 0.1)[1])


def test_a_fraction_of_a_tiny_set_is_one_sample_and_none_only_if_asked() -> None:
    assert len(carve(np.zeros(3, np.int64), 0.1)[1]) == 1
    assert len(carve(np.zeros(3, np.int64), 0.0)[1]) == 0
    with pytest.raises(OptbenchError, match="from 0 to under 1"):
        carve(np.zeros(3, np.int64), 10)


def test_channel_statistics_are_those_of_numpy_and_never_zero() -> None:
    images = np.random.RandomState(0).randint(0, 256, (70, 3, 5, 4)).astype(np.uint8)
    images[:, 2] = 9
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(images.mean((0, 2, 3)))
    assert std[:2] == pytest.approx(images.std((0, 2, 3))[:2])
    assert std[2] == 1


# downloads


@pytest.fixture
def known_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, int, str]]:
    """The files of Fashion-MNIST, as far as a test writes other ones."""
    files = dict(fashion_mnist._FILES)
    monkeypatch.setattr(fashion_mnist, "_FILES", files)
    return files


def write_idx(
    folder: Path,
    name: str,
    array: np.ndarray[Any, Any],
    *,
    packed: bool,
    known: dict[str, tuple[str, int, str]],
) -> None:
    raw = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    known[name] = ("", len(raw), hashlib.md5(raw).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    if packed:
        (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
    else:
        (folder / name).write_bytes(raw)


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_from_the_data_root_first(
    tmp_path: Path, packed: bool, known_files: dict[str, tuple[str, int, str]]
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    random = np.random.RandomState(0)
    for part, size in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((size, 28, 28), np.uint8)
        images[:, 0, 0] = random.randint(0, 256, size)
        write_idx(raw, f"{part}-images-idx3-ubyte", images, packed=packed, known=known_files)
        labels = (np.arange(size) % 10).astype(np.uint8)
        write_idx(raw, f"{part}-labels-idx1-ubyte", labels, packed=packed, known=known_files)
    splits = fashion_mnist.load(tmp_path)
    check_promise(splits)
    assert splits.info.source == str(raw)
    assert np.bincount(splits.validation.labels).tolist() == [600] * 10


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>not found</html>", "Not a gzipped file"),
        (gzip.compress(bytes(10)), "expected 16 bytes when unpacked; found 10"),
        (gzip.compress(bytes(30_000_000)), "expected 16 bytes when unpacked; found more"),
        (gzip.compress(bytes(16)), "expected MD5 [0-9a-f]{32} when unpacked"),
        (gzip.compress(bytes(16))[:-9], "ended before the end-of-stream marker"),
    ],
    ids=["text", "short", "long", "other content", "cut off"],  # compressed bytes contain the time
)
def test_a_packed_file_with_other_content_is_refused(
    tmp_path: Path, known_files: dict[str, tuple[str, int, str]], content: bytes, words: str
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    for name in tuple(known_files):
        write_idx(raw, name, np.ones(8, np.uint8), packed=True, known=known_files)
        known_files[name] = ("", 16, known_files[name][2])
    (raw / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(
        OptbenchError, match=rf"train-images-idx3-ubyte\.gz: is not the file of Fashion-MNIST \(.*{words}"
    ):
        fashion_mnist.load(tmp_path)


def test_an_unpacked_file_of_another_size_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in fashion_mnist._FILES:
        (raw / name).write_bytes(bytes(100))
    with pytest.raises(
        OptbenchError, match=r"train-images-idx3-ubyte: .*expected 47,040,016 bytes; found 100"
    ):
        fashion_mnist.load(tmp_path)


@pytest.mark.skipif(not SYSTEM_COPY.is_dir(), reason="the system has no copy of Fashion-MNIST")
def test_the_systems_fashion_mnist_is_used_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket", None)
    splits = fashion_mnist.load(tmp_path)
    check_promise(splits)
    assert splits.mean[0] / 255 == pytest.approx(0.2860, abs=0.001)
    assert splits.std[0] / 255 == pytest.approx(0.3530, abs=0.001)


def test_a_packed_file_is_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_files: dict[str, tuple[str, int, str]]
) -> None:
    packed, root = tmp_path / "system", tmp_path / "root"
    monkeypatch.setattr(fashion_mnist, "_SYSTEM", packed)
    for part, size in (("train", 60_000), ("t10k", 10_000)):
        images, labels = np.full((size, 2, 2), 7, np.uint8), (np.arange(size) % 10).astype(np.uint8)
        write_idx(packed, f"{part}-images-idx3-ubyte", images, packed=True, known=known_files)
        write_idx(packed, f"{part}-labels-idx1-ubyte", labels, packed=True, known=known_files)
    first = fashion_mnist.load(root)
    kept = sorted(path.name for path in (root / "FashionMNIST" / "raw").iterdir())
    assert kept == sorted(fashion_mnist._FILES)
    monkeypatch.setattr(gzip, "open", None)
    second = fashion_mnist.load(root)
    assert np.array_equal(first.train.inputs, second.train.inputs)
    assert np.array_equal(first.test.labels, second.test.labels)


def test_a_data_root_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_files: dict[str, tuple[str, int, str]]
) -> None:
    monkeypatch.setattr(fashion_mnist, "_SYSTEM", tmp_path)
    for name, size in zip(fashion_mnist._FILES, (60_000, 60_000, 10_000, 10_000), strict=True):
        shape = (size, 2, 2) if "images" in name else (size,)
        write_idx(tmp_path, name, np.zeros(shape, np.uint8), packed=True, known=known_files)
    (tmp_path / "file").touch()
    assert len(fashion_mnist.load(tmp_path / "file").test.labels) == 10_000


@pytest.mark.parametrize(
    ("name", "file", "md5"),
    [
        ("cifar10", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
        ("cifar100", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
        ("imagenette", "imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412"),
    ],
)
def test_offline_the_error_says_which_file_belongs_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, md5: str
) -> None:
    cut_off(monkeypatch)
    with pytest.raises(OptbenchError) as caught:
        module(name).load(tmp_path / "data")
    assert str(tmp_path / "data" / file) in str(caught.value)
    assert md5 in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_offline_all_four_files_of_fashion_mnist_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch)
    monkeypatch.setattr(fashion_mnist, "_SYSTEM", tmp_path / "none")
    with pytest.raises(OptbenchError) as caught:
        fashion_mnist.load(tmp_path)
    assert str(caught.value).count(str(tmp_path / "FashionMNIST" / "raw")) == 4


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def test_a_damaged_archive_is_told_apart_from_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half")
    with pytest.raises(OptbenchError, match=r"the one that is there has [0-9a-f]{32}"):
        module("cifar10").load(tmp_path)


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with an archive as CIFAR-10's, but small, put there by hand."""
    import torchvision.datasets

    random = np.random.RandomState(0)
    inside = tmp_path / "made" / "cifar-10-batches-py"
    inside.mkdir(parents=True)
    digests = {}
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name in names:
        batch = {
            "data": random.randint(0, 256, (20, 3072)).astype(np.uint8),
            "labels": [i % 10 for i in range(20)],
        }
        (inside / name).write_bytes(pickle.dumps(batch))
    (inside / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    for path in inside.iterdir():
        digests[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(inside, "cifar-10-batches-py")
    cls = torchvision.datasets.CIFAR10
    monkeypatch.setattr(
        cls, "tgz_md5", hashlib.md5((root / "cifar-10-python.tar.gz").read_bytes()).hexdigest()
    )
    monkeypatch.setattr(cls, "train_list", [[name, digests[name]] for name in names[:5]])
    monkeypatch.setattr(cls, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(
        cls, "meta", {"filename": "batches.meta", "key": "label_names", "md5": digests["batches.meta"]}
    )
    return root


def test_an_archive_put_there_by_hand_is_enough(small_cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(monkeypatch)
    splits = module("cifar10").load(small_cifar, validation=0.2)
    assert [len(part.labels) for part in (splits.train, splits.validation, splits.test)] == [80, 20, 20]
    assert np.bincount(splits.validation.labels).tolist() == [2] * 10
    assert splits.train.inputs.shape == (80, 3, 32, 32)
    assert sorted(p.name for p in small_cifar.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


@pytest.mark.parametrize("kind", ["outside", "link", "device"])
def test_an_archive_cannot_write_outside_its_folder(
    small_cifar: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import torchvision.datasets

    cut_off(monkeypatch)
    archive = small_cifar / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("../../escaped" if kind == "outside" else "cifar-10-batches-py/x")
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        elif kind == "device":
            member.type = tarfile.CHRTYPE
        tar.addfile(member)
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", digest)
    with pytest.raises(OptbenchError, match="cifar-10-python"):
        module("cifar10").load(small_cifar)
    assert not (small_cifar.parent / "escaped").exists()
    assert [path.name for path in small_cifar.iterdir()] == [archive.name]


def test_an_archive_with_another_checksum_is_neither_unpacked_nor_changed(
    small_cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    cut_off(monkeypatch)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", "0" * 32)
    before = (small_cifar / "cifar-10-python.tar.gz").read_bytes()
    with pytest.raises(OptbenchError, match="the one that is there has"):
        module("cifar10").load(small_cifar)
    assert [path.name for path in small_cifar.iterdir()] == ["cifar-10-python.tar.gz"]
    assert (small_cifar / "cifar-10-python.tar.gz").read_bytes() == before


def test_a_download_that_stops_half_way_leaves_nothing(tmp_path: Path) -> None:
    def download(folder: Path) -> None:
        (folder / "half").write_text("h")
        raise OSError("connection reset")

    with pytest.raises(OptbenchError, match="connection reset"):
        fetch(tmp_path, {"whole": "0" * 32}, download)
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_does_no_harm(tmp_path: Path) -> None:
    def download(folder: Path) -> None:
        for place in (folder, tmp_path):
            (place / "set").mkdir()
            (place / "set" / "file").write_text(place.name)

    fetch(tmp_path, {"archive": "0" * 32}, download)
    assert [p.name for p in tmp_path.rglob("*")] == ["set", "file"]


# the data root


def test_the_option_wins_over_the_environment_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTBENCH_DATA", str(tmp_path / "environment"))
    assert data_root(str(tmp_path / "option")) == tmp_path / "option"
    assert data_root(None) == tmp_path / "environment"
    monkeypatch.delenv("OPTBENCH_DATA")
    assert "optbench" in str(data_root(None))


# own data sets


def own(tmp_path: Path, body: str, name: str = "mine.py:letters", **arguments: object) -> Splits:
    (tmp_path / "mine.py").write_text("import numpy as np\nimport torch\n\n" + body)
    return load_data(Component(name=name, arguments=arguments), tmp_path, tmp_path)


PAIRS = """
def letters(root, *, size=4):
    pair = lambda n: (np.full((n, 3, size, size), n, np.uint8), np.arange(n) % 3)
    return pair(9), pair(4), pair(5)
"""


def test_an_own_function_that_returns_three_pairs_is_a_data_set(tmp_path: Path) -> None:
    splits = own(tmp_path, PAIRS, size=6)
    check_promise(splits)
    assert splits.info.shape == (3, 6, 6)
    assert splits.info.classes == 3
    assert splits.mean == (9.0, 9.0, 9.0)
    assert describe_data(Component(name="mine.py:letters"), tmp_path, tmp_path).train == 9


def test_own_tensors_and_grey_pictures_without_a_channel_are_taken(tmp_path: Path) -> None:
    body = "def letters(root):\n    return [(torch.zeros(6, 5, 5, dtype=torch.uint8), torch.arange(6))] * 3\n"
    assert own(tmp_path, body).info.shape == (1, 5, 5)


def test_own_vectors_become_float32(tmp_path: Path) -> None:
    body = "def letters(root):\n    return [(np.random.rand(6, 5), np.arange(6))] * 3\n"
    check_promise(own(tmp_path, body))


def test_an_own_module_has_load_and_describe(tmp_path: Path) -> None:
    body = (
        "from optbench.catalog.types import DataInfo\n"
        + PAIRS.replace("letters", "load")
        + "\ndef describe(root, *, size=4):\n    return DataInfo(9, 4, 5, (3, size, size), 3)\n"
    )
    check_promise(own(tmp_path, body, name="mine.py"))
    assert describe_data(Component(name="mine.py", arguments={"size": 7}), tmp_path, tmp_path).shape == (
        3,
        7,
        7,
    )


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("3", "three pairs"),
        ("[(np.zeros((6, 5)), np.arange(6))] * 2", "three pairs"),
        ("[(np.zeros((6, 3, 5, 5)), np.arange(6))] * 3", r"found float64 \(6, 3, 5, 5\)"),
        ("[(np.zeros((6, 5)), np.arange(5))] * 3", "expected 6 labels"),
        ("[(np.zeros((6, 5)), np.arange(6) - 1)] * 3", r"found -1 \(row 0\)"),
        ("[(np.zeros((6, 5 + i)), np.arange(6)) for i in range(3)]", "one shape in all splits"),
    ],
)
def test_own_data_of_another_kind_are_explained(tmp_path: Path, returned: str, words: str) -> None:
    with pytest.raises(OptbenchError, match=words):
        own(tmp_path, f"def letters(root):\n    return {returned}\n")


# checks of the values


def values(body: str, splits: str = "(x, y), (x + 1, y), (x + 2, y)") -> str:
    """The source of an own data set of 6 rows of 4 numbers; `body` changes x or y."""
    return (
        "def letters(root):\n"
        "    x, y = np.random.RandomState(0).randn(6, 4).astype(np.float32), np.arange(6) % 3\n"
        f"    {body}\n"
        f"    return {splits}\n"
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("x[3, 1] = np.nan", r"1 value of the training inputs is not finite \(row 3\)"),
        ("x[3, :2] = np.inf", r"2 values of the training inputs are not finite \(row 3\)"),
        ("x = x.astype(float); x[2:4] = 1e300", r"8 values of the test inputs are not finite \(rows 2, 3\)"),
        ("y = y.astype(float)", r"training: expected 6 labels, whole numbers from 0; found float64 \(6,\)"),
        ("y = y.astype(object)", r"training: expected 6 labels, whole numbers from 0; found object \(6,\)"),
        ("y = np.eye(6, 3)", r"training: expected 6 labels, whole numbers from 0; found float64 \(6, 3\)"),
        ("y[2] = 1000", "expected labels from 0 to the number of classes - 1; found 1000"),
        ("x = x.astype(object)", r"training: expected images as uint8 .* found object \(6, 4\)"),
        ("x = x.astype(np.int64)", r"training: expected images as uint8 .* found int64 \(6, 4\)"),
        ("x = torch.tensor(x, requires_grad=True)", "three pairs"),
        ("exit(3)", r"mine\.py:6: data mine\.py:letters: load raises SystemExit: 3"),
        ("raise KeyError('letters.csv')", r"mine\.py:6: data mine\.py:letters: load raises KeyError"),
    ],
)
def test_data_that_would_make_every_optimizer_fail_are_refused_with_their_row(
    tmp_path: Path, body: str, words: str
) -> None:
    with pytest.raises(OptbenchError, match=words):
        own(tmp_path, values(body))


SPLITS = """
from optbench.catalog.types import DataInfo, Split, Splits
def letters(root):
    x, y = np.arange(24, dtype=np.float32).reshape(6, 4), np.arange(6) % 3
    info = DataInfo(6, 6, 6, (4,), 3)
    return {returned}
"""


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (
            "Splits(Split(x.astype(float), y), Split(x, y), Split(x, y), info)",
            r"expected training inputs as uint8 .*found float64 \(6, 4\)",
        ),
        (
            "Splits(Split(x, y), Split(x, y[:5]), Split(x, y), info)",
            "expected as many validation labels as inputs, 6; found 5",
        ),
        (
            "Splits(Split(x, y), Split(x, y), Split(x, y + 1), info)",
            r"expected test labels from 0 to 2; found 3 \(rows 2, 5\)",
        ),
        (
            "Splits(Split(x, y - 1), Split(x, y), Split(x, y), info)",
            r"expected training labels from 0 to 2; found -1 \(rows 0, 3\)",
        ),
        (
            "Splits(Split(x, y), Split(x[:4], y[:4]), Split(x, y), info)",
            "expected the 6 validation samples of its description; found 4",
        ),
        (
            "Splits(Split(x, y), Split(x[:, :3], y), Split(x, y), info)",
            r"expected validation inputs of shape \(4,\); found \(3,\)",
        ),
        ("Splits(Split(x, y), Split(x, y), Split(x, y), info, (1.0,), (1.0,))", "expected 'mean' with 0"),
        (
            "(lambda z: Splits(Split(z, y), Split(z, y), Split(z, y), DataInfo(6, 6, 6, (1, 4, 4), 3), (1.0,), (1.0,)))"
            "(np.zeros((6, 1, 5, 3), np.uint8))",
            r"expected training inputs of shape \(1, 4, 4\); found \(1, 5, 3\)",
        ),
    ],
)
def test_own_splits_are_checked_against_their_description(tmp_path: Path, returned: str, words: str) -> None:
    with pytest.raises(OptbenchError, match=words):
        own(tmp_path, SPLITS.replace("{returned}", returned))


def test_samples_in_two_splits_are_counted(tmp_path: Path) -> None:
    splits = "(x, y), (x[:2] + 1, y[:2]), (np.concatenate([x[:2], x[3:4], x + 2]), np.r_[y[:3], y])"
    assert own(tmp_path, values("y[3] = 1", splits)).notes == (
        "3 of 9 test samples are also training samples (1 with another label)",
    )


def test_a_class_without_training_samples_is_reported(tmp_path: Path) -> None:
    assert own(tmp_path, values("y[y == 1] = 2")).notes == ("1 of 3 classes has no training samples",)


def test_pictures_of_one_colour_are_counted(tmp_path: Path) -> None:
    body = (
        "def letters(root):\n"
        "    x, y = np.random.RandomState(0).randint(0, 255, (9, 3, 5, 5)).astype(np.uint8), np.arange(9) % 3\n"
        "    x[4], x[7] = 0, x[7, :, :1, :1]\n"
        "    return (x, y), (x[:3] + 1, y[:3]), (x[:3] + 2, y[:3])\n"
    )
    assert own(tmp_path, body).notes == ("2 of 9 training pictures have only one colour",)


def test_views_with_negative_strides_are_taken(tmp_path: Path) -> None:
    assert own(tmp_path, values("x = x[:, ::-1]")).train.inputs.flags.c_contiguous


def test_the_built_in_data_have_nothing_to_report(tmp_path: Path) -> None:
    for name in ("digits", "synthetic"):
        assert load_data(Component(name=name), tmp_path).notes == ()


def test_own_data_are_checked_against_their_own_description(tmp_path: Path) -> None:
    described = (
        "from optbench.catalog.types import DataInfo\n"
        + PAIRS.replace("letters", "load")
        + "\ndef describe(root, *, size=4):\n    return DataInfo(9, {validation}, 5, (3, size, size), 4)\n"
    )
    assert own(tmp_path, described.replace("{validation}", "4"), name="mine.py").info.classes == 4
    with pytest.raises(OptbenchError, match="expected the 7 validation samples of its description; found 4"):
        own(tmp_path, described.replace("{validation}", "7"), name="mine.py")


def test_data_that_differ_between_trials_are_a_warning(tmp_path: Path) -> None:
    random = values("x = np.random.randn(6, 4).astype(np.float32)", "(x, y), (x + 1, y), (x + 2, y)")
    (tmp_path / "mine.py").write_text("import numpy as np\n" + random)
    found = trials(tmp_path, workload={"data": {"name": "mine.py:letters"}, "batch_size": 2}, seeds=2)
    suite = load_suite(tmp_path / "suite.yaml").suite
    events = {trial.id: run(trial, tmp_path) for trial in found}
    folder = write_trials(tmp_path / "results", suite, found, events)
    assert any("different data" in message for message in warnings_frame(read([folder.path]))["message"])


def test_duplicates_reach_the_records_and_the_warnings_of_a_report(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import numpy as np\n" + values("", "(x, y), (x, y), (x + 1, y)"))
    (trial,) = trials(tmp_path, workload={"data": {"name": "mine.py:letters"}, "batch_size": 2})
    events = run(trial, tmp_path)
    assert started(events).data_notes == "6 of 6 validation samples are also training samples"
    suite = load_suite(tmp_path / "suite.yaml").suite
    folder = write_trials(tmp_path / "results", suite, (trial,), {trial.id: events})
    frame = warnings_frame(read([folder.path]))
    assert "data: 6 of 6 validation samples are also training samples" in frame["message"].tolist()
