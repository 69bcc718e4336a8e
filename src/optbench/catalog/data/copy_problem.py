"""Copy problem: repeat symbols after a long delay (Hochreiter and Schmidhuber 1997); generated, with masked targets."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.tasks.language import IGNORED
from optbench.catalog.types import DataInfo, Split, Splits

TASK = "language"
RANGES = {"symbols": (2, 250), "length": (1, None), "delay": (1, None), "samples": (100, None)}
#: defaults of `optbench new`
STARTER = {"target": 0.5, "batch_size": 64, "most_epochs": 20}


def describe(
    root: Path, *, symbols: int = 8, length: int = 10, delay: int = 30, samples: int = 4000
) -> DataInfo:
    """`length` random symbols, `delay` blanks, a signal, then the symbols again. Guessing needs log2(`symbols`) bits per symbol."""
    vocabulary, rest = symbols + 2, samples // 4
    facts = {"vocab_size": vocabulary}
    return DataInfo(
        samples,
        rest,
        rest,
        (2 * length + delay,),
        vocabulary,
        "the copy problem",
        task=TASK,
        facts=facts,
    )


def load(root: Path, *, symbols: int = 8, length: int = 10, delay: int = 30, samples: int = 4000) -> Splits:
    """Return tokens; only the repeated symbols count. A model reads the symbol before the one that it predicts."""
    import numpy as np

    info = describe(root, symbols=symbols, length=length, delay=delay, samples=samples)
    blank, signal = symbols, symbols + 1
    parts = []
    for number, size in enumerate((info.train, info.validation, info.test)):
        random = np.random.RandomState(number)
        shown = random.randint(symbols, size=(size, length))
        whole = np.full((size, info.shape[0] + 1), blank, np.int16)
        whole[:, :length], whole[:, length + delay] = shown, signal
        whole[:, length + delay + 1 :] = shown
        targets = whole[:, 1:].copy()
        targets[:, : length + delay] = IGNORED
        parts.append(Split(np.ascontiguousarray(whole[:, :-1]), targets))
    return Splits(parts[0], parts[1], parts[2], info)
