"""Plain PyTorch training loops for comparison: the best that we can write by hand, and the usual one of tutorials.

`python -m benchmarks.loops best|usual WORKLOAD --steps N ...` trains in its own process and prints one line of JSON:
train_seconds, cpu_seconds, samples_per_second, setup_seconds, accuracy (of the test split; null if not requested).
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import time

STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks.workloads import WORKLOADS, Bench, images  # noqa: E402


def model_of(work: Bench) -> nn.Module:
    """Return the same model as the catalog's: (n, 1, 28, 28) -> (n, 10)."""
    if work.model == "mlp":
        widths = [784, *work.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], 10))
    stages: list[nn.Module] = []
    channels = 1
    for stage, out in enumerate((work.width, 2 * work.width, 4 * work.width)):
        stages += [nn.MaxPool2d(2)] if stage else []
        stages += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def best(work: Bench, steps: int, seed: int) -> tuple[nn.Module, float, float]:
    """Train with the best loop: data in memory as bytes, augmented per batch, fused step, gradient norm every `work.every` steps."""
    layout = torch.channels_last if work.channels_last else torch.contiguous_format
    (pictures, labels), _ = images()
    data, wanted = torch.from_numpy(pictures), torch.from_numpy(labels)
    pad = work.crop
    padded = nn.functional.pad(data, (pad,) * 4).contiguous(memory_format=layout) if pad else data
    windows = padded.unfold(2, 28, 1).unfold(3, 28, 1) if pad else None
    mean, std = data.float().mean(), data.float().std()
    torch.manual_seed(seed)
    model = model_of(work).to(memory_format=layout)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=work.rate, momentum=0.9, fused=True)
    generator = torch.Generator().manual_seed(seed)
    per_epoch = len(data) // work.batch

    def batch(rows: torch.Tensor) -> torch.Tensor:
        if windows is None:
            picked = data[rows]
        else:
            top, left = torch.randint(0, 2 * pad + 1, (2, len(rows)), generator=generator)
            picked = windows[rows, :, top, left]
            flip = torch.rand(len(rows), generator=generator) < 0.5
            picked = torch.where(flip[:, None, None, None], picked.flip(3), picked)
        return ((picked.float() - mean) / std).contiguous(memory_format=layout)

    total, order = torch.zeros(()), torch.arange(0)
    start, cpu = time.perf_counter(), time.process_time()
    for step in range(steps):
        position = step % per_epoch
        if position == 0:
            order = torch.randperm(len(data), generator=generator)
        rows = order[position * work.batch : (position + 1) * work.batch]
        inputs, targets = batch(rows), wanted[rows]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=work.bf16):
            loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if (step + 1) % work.every == 0:
            nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
        total += loss.detach()
    return model, time.perf_counter() - start, time.process_time() - cpu


def usual(work: Bench, steps: int, seed: int) -> tuple[nn.Module, float, float]:
    """Train as tutorials do: PIL images, torchvision transforms per sample, a DataLoader, torch's defaults, `loss.item()`."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    (pictures, labels), _ = images()
    mean, std = float(pictures.mean()) / 255, float(pictures.std()) / 255
    change = (
        [transforms.RandomCrop(28, padding=work.crop), transforms.RandomHorizontalFlip()] if work.crop else []
    )
    transform = transforms.Compose([*change, transforms.ToTensor(), transforms.Normalize((mean,), (std,))])

    class Pictures(Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(Image.fromarray(pictures[index, 0])), int(labels[index])

    torch.manual_seed(seed)
    model = model_of(work)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=work.rate, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(
        Pictures(), batch_size=work.batch, shuffle=True, drop_last=True, num_workers=work.workers
    )
    done, running = 0, 0.0
    start, cpu = time.perf_counter(), time.process_time()
    while done < steps:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            running += loss.item()
            done += 1
            if done == steps:
                break
    return model, time.perf_counter() - start, time.process_time() - cpu


def accuracy(model: nn.Module) -> float:
    (pictures, _), (test, labels) = images()
    mean, std = float(pictures.mean()), float(pictures.std())
    model.eval()
    with torch.inference_mode():
        right = sum(
            int((model((torch.from_numpy(some).float() - mean) / std).argmax(1).numpy() == their).sum())
            for some, their in zip(np.array_split(test, 20), np.array_split(labels, 20), strict=True)
        )
    return right / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["best", "usual"])
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accuracy", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    work = WORKLOADS[arguments.workload]
    if arguments.kind != "usual":  # keep freed memory: glibc would otherwise fault it in again in each step
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30), libc.mallopt(-1, 0x7FFFFFFF)
    setup = time.perf_counter() - STARTED
    if arguments.kind == "usual":
        model, seconds, cpu = usual(work, arguments.steps, arguments.seed)
    else:
        model, seconds, cpu = best(work, arguments.steps, arguments.seed)
    result = {
        "train_seconds": seconds,
        "cpu_seconds": cpu,
        "samples_per_second": arguments.steps * work.batch / seconds,
        "setup_seconds": setup,
        "accuracy": accuracy(model) if arguments.accuracy else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
