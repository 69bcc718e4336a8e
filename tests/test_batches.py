"""Training batches: exact, in order, and independent of where the data are stored."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import resized_crop

from optbench.catalog.types import Split
from optbench.engine.augment import draw
from optbench.engine.batches import BatchSettings, EvaluationBatches, TrainingBatches
from optbench.engine.prefetch import Prefetch
from optbench.engine.randomness import derive
from optbench.errors import OptbenchError
from optbench.suite.types import Augment

CPU = torch.device("cpu")
MEAN, STD = (100.0, 120.0, 140.0), (50.0, 60.0, 70.0)
FLIP_CROP = Augment(flip=True, crop=2)


def pictures(samples: int = 50, height: int = 8, width: int = 6, channels: int = 3) -> Split:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (samples, channels, height, width)).astype(np.uint8)
    return Split(images, np.arange(samples, dtype=np.int64))


def feed(split: Split | None = None, augment: Augment = FLIP_CROP, **options: object) -> TrainingBatches:
    of_storage = {name: options.pop(name) for name in ("residency", "size") if name in options}
    settings = BatchSettings(**{"batch_size": 16, "seed": 7, "device": CPU, "augment": augment, **options})  # type: ignore[arg-type]
    split = split or pictures()
    channels = split.inputs.shape[1] if split.inputs.ndim == 4 else 0
    return TrainingBatches(split, MEAN[:channels], STD[:channels], settings, **of_storage)  # type: ignore[arg-type]


def equal(left: tuple[torch.Tensor, torch.Tensor], right: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return torch.equal(left[0], right[0]) and torch.equal(left[1], right[1])


@pytest.mark.parametrize("residency", ["device", "host"])
@pytest.mark.parametrize(
    ("augment", "size"),
    [(FLIP_CROP, None), (Augment(), None), (Augment(random_resized_crop=(0.4, 1.0)), (5, 5))],
)
def test_batches_at_one_place_in_memory_are_the_batches(
    augment: Augment, size: tuple[int, int] | None, residency: str
) -> None:
    options = {"augment": augment, "size": size, "residency": residency, "memory_format": "channels_last"}
    batches, other = feed(**options), feed(**options)
    static = batches.static()
    made = []
    for step in (0, 1, 2, 3, 7, 1):  # over epochs, and back
        static.move_to(step)
        made.append(static.make())
        assert equal(made[-1], other.batch(step))
        assert made[-1][0].stride() == other.batch(step)[0].stride()
    batches.close()
    other.close()


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", [1, 3])
def test_flip_crop_and_normalise_equal_one_picture_at_a_time(memory_format: str, channels: int) -> None:
    split = pictures(channels=channels)
    batches = feed(split, memory_format=memory_format)
    mean, std = (torch.tensor(c[:channels]).reshape(-1, 1, 1) for c in (MEAN, STD))
    for step in range(2 * batches.steps_per_epoch):
        inputs, labels = batches.batch(step)
        epoch, position = divmod(step, batches.steps_per_epoch)
        draws = draw(7, epoch, 50, FLIP_CROP, (8, 6))
        assert draws.flip is not None
        assert draws.top is not None
        assert draws.left is not None
        for i in range(16):
            place = position * 16 + i
            sample = int(draws.order[place])
            padded = np.pad(split.inputs[sample], ((0, 0), (2, 2), (2, 2)))
            top, left = int(draws.top[place]), int(draws.left[place])
            cut = padded[:, top : top + 8, left : left + 6]
            cut = cut[:, :, ::-1] if draws.flip[place] else cut
            assert torch.equal(inputs[i], (torch.from_numpy(cut.copy()).float() - mean) / std)
            assert labels[i] == sample


def test_channels_last_is_delivered_as_such() -> None:
    inputs, _ = feed(memory_format="channels_last").batch(0)
    assert inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "augment", [Augment(), FLIP_CROP, Augment(random_resized_crop=(0.3, 1.0), flip=True)]
)
def test_batches_are_the_same_bits_wherever_the_data_are_kept(tmp_path: Path, augment: Augment) -> None:
    split = pictures()
    np.save(tmp_path / "inputs.npy", split.inputs)
    mapped = Split(np.load(tmp_path / "inputs.npy", mmap_mode="r"), split.labels)
    resident, streamed = feed(split, augment, residency="device"), feed(split, augment, residency="host")
    from_disk = feed(mapped, augment, residency="host")
    half = Split(np.load(tmp_path / "inputs.npy", mmap_mode="r")[25:], split.labels[25:])
    assert equal(
        feed(half, augment).batch(0), feed(Split(split.inputs[25:], split.labels[25:]), augment).batch(0)
    )
    for step in range(2 * resident.steps_per_epoch):
        assert equal(resident.batch(step), streamed.batch(step))
        assert equal(resident.batch(step), from_disk.batch(step))
    assert resident.data_wait_seconds == 0
    assert streamed.data_wait_seconds > 0


@pytest.mark.parametrize("residency", ["device", "host"])
def test_a_feed_entered_in_the_middle_gives_the_same_batches(residency: str) -> None:
    through, resumed = feed(residency=residency), feed(residency=residency)
    batches = [through.batch(step) for step in range(8)]
    for step in (4, 5, 6, 7, 1):
        assert equal(resumed.batch(step), batches[step])


def test_an_epoch_has_every_sample_at_most_once_and_epochs_differ() -> None:
    batches = feed(batch_size=10)
    first, second = (
        torch.cat([batches.batch(5 * epoch + step)[1] for step in range(5)]).tolist() for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_the_partial_last_batch_is_dropped() -> None:
    assert feed(batch_size=16).steps_per_epoch == 3


def test_the_order_is_by_sample_whatever_the_batch_size() -> None:
    small, large = feed(batch_size=5), feed(batch_size=10)
    halves = [small.batch(0), small.batch(1)]
    assert equal(large.batch(0), (torch.cat([h[0] for h in halves]), torch.cat([h[1] for h in halves])))


def test_seeds_give_different_orders() -> None:
    assert not torch.equal(feed(seed=1).batch(0)[1], feed(seed=2).batch(0)[1])


def test_augmentation_leaves_the_order_of_samples_alone() -> None:
    assert torch.equal(feed(augment=Augment()).batch(4)[1], feed(augment=FLIP_CROP).batch(4)[1])


def test_decisions_are_made_picture_by_picture_and_fairly() -> None:
    draws = draw(0, 0, 10_000, FLIP_CROP)
    assert draws.flip is not None
    assert draws.top is not None
    assert 0.47 < draws.flip.float().mean() < 0.53
    assert torch.bincount(draws.top).tolist() == pytest.approx([2000] * 5, abs=200)


def test_random_resized_crop_equals_torchvision_on_the_same_boxes() -> None:
    split = pictures(samples=40, height=24, width=20)
    augment = Augment(random_resized_crop=(0.1, 1.0))
    inputs, labels = feed(split, augment, size=(12, 12)).batch(0)
    boxes = draw(7, 0, 40, augment, (24, 20)).boxes
    assert boxes is not None
    for i in range(16):
        image = torch.from_numpy(split.inputs[int(labels[i])]).float()
        expected = resized_crop(image, *boxes[i].tolist(), size=[12, 12], antialias=True)
        mean, std = (torch.tensor(c).reshape(-1, 1, 1) for c in (MEAN, STD))
        torch.testing.assert_close(inputs[i], (expected - mean) / std, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("stored", [(32, 32), (10, 60), (60, 10)])
def test_boxes_lie_inside_the_picture_and_keep_the_share_of_the_area(stored: tuple[int, int]) -> None:
    boxes = draw(0, 0, 2000, Augment(random_resized_crop=(0.3, 0.9)), stored).boxes
    assert boxes is not None
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (height >= 1).all()
    assert (width >= 1).all()
    assert (top + height <= stored[0]).all()
    assert (left + width <= stored[1]).all()
    if stored == (32, 32):
        area = (height * width).double() / 1024
        assert 0.27 < area.min() < 0.35
        assert 0.85 < area.max() < 0.93
        assert area.mean() == pytest.approx(0.58, abs=0.03)


def test_vectors_pass_unchanged() -> None:
    random = np.random.RandomState(0)
    split = Split(random.rand(20, 5).astype(np.float32), np.arange(20, dtype=np.int64))
    for residency in ("device", "host"):
        inputs, labels = feed(split, Augment(), batch_size=4, residency=residency).batch(3)
        assert torch.equal(inputs, torch.from_numpy(split.inputs[labels.numpy()]))


def test_inputs_are_float32_and_the_data_set_is_left_as_it_was() -> None:
    split = pictures()
    before = split.inputs.copy()
    inputs, labels = feed(split).batch(0)
    inputs.zero_()
    assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert np.array_equal(split.inputs, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 51}, "at most the 50 training samples; found 51"),
        (
            {"augment": Augment(crop=2, random_resized_crop=(0.5, 1.0))},
            "one of 'crop' and 'random_resized_crop'",
        ),
        ({"size": (4, 4)}, "stored at 8x6 and batches have 4x4"),
    ],
)
def test_settings_that_do_not_fit_are_named(options: dict[str, object], words: str) -> None:
    with pytest.raises(OptbenchError, match=words):
        feed(**options)  # type: ignore[arg-type]


def test_augmenting_vectors_is_an_error() -> None:
    split = Split(np.zeros((20, 5), np.float32), np.zeros(20, np.int64))
    with pytest.raises(OptbenchError, match="need images"):
        feed(split, Augment(flip=True), batch_size=4)


@pytest.mark.parametrize("residency", ["device", "host"])
def test_evaluation_gives_every_sample_once_in_order_each_time(residency: str) -> None:
    split = pictures()
    batches = EvaluationBatches(split, MEAN, STD, 16, CPU, "channels_last", residency)  # type: ignore[arg-type]
    mean, std = (torch.tensor(c).reshape(-1, 1, 1) for c in (MEAN, STD))
    expected = (torch.from_numpy(split.inputs).float() - mean) / std
    for _ in range(2):
        parts = list(batches)
        assert [len(labels) for _, labels in parts] == [16, 16, 16, 2]
        assert len(batches) == 4
        assert torch.equal(torch.cat([inputs for inputs, _ in parts]), expected)
        assert torch.cat([labels for _, labels in parts]).tolist() == list(range(50))
        assert parts[0][0].is_contiguous(memory_format=torch.channels_last)


def test_a_failure_while_gathering_reaches_the_caller_every_time() -> None:
    def prepare(step: int) -> int:
        if step == 2:
            raise RuntimeError("the disk is gone")
        return step

    ahead = Prefetch(prepare, 0)
    assert [ahead.get(), ahead.get()] == [0, 1]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the disk is gone"):
            ahead.get()


def test_no_more_than_the_bound_is_gathered_ahead() -> None:
    made: list[int] = []
    enough = threading.Event()

    def prepare(step: int) -> int:
        made.append(step)
        if len(made) == 3:
            enough.set()
        return step

    ahead = Prefetch(prepare, 5, depth=2)
    assert enough.wait(5)
    assert not ahead_grows(made)
    assert made == [5, 6, 7]
    ahead.close()


def ahead_grows(made: list[int]) -> bool:
    before = len(made)
    threading.Event().wait(0.15)
    return len(made) > before


def test_the_prefetching_thread_ends_with_its_batches() -> None:
    before = set(threading.enumerate())
    batches = feed(residency="host")
    batches.batch(0)
    (thread,) = set(threading.enumerate()) - before
    del batches
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_purposes_have_streams_of_their_own() -> None:
    seeds = {
        derive(seed, *purpose) for seed in (0, 1) for purpose in (("order", 0), ("order", 1), ("flip", 0))
    }
    assert len(seeds) == 6
    assert derive(0, "order", 0) == 878259672076101511


def test_padding_is_black_before_normalisation() -> None:
    split = Split(np.full((8, 3, 4, 4), 255, np.uint8), np.zeros(8, np.int64))
    inputs, _ = feed(split, Augment(crop=4), batch_size=8).batch(0)
    draws = draw(7, 0, 8, Augment(crop=4), (4, 4))
    assert draws.top is not None
    assert draws.left is not None
    moved = next(i for i in range(8) if draws.top[i] == 0 or draws.left[i] == 0 or draws.top[i] > 4)
    assert torch.equal(inputs[moved].amin((1, 2)), -torch.tensor(MEAN) / torch.tensor(STD))
