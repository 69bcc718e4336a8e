"""One style an optimizer: told apart by everybody, on every ground."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from optbench.report.colours import (
    DARK,
    DARK_GROUND,
    GREY,
    LIGHT,
    LIGHT_GROUND,
    MARKERS,
    MORE_DARK,
    MORE_LIGHT,
    SYMBOLS,
    legend_items,
    style,
    styles,
)

#: Machado, Oliveira and Fernandes 2009, severity 1, in linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def linear(colour: str) -> np.ndarray:
    share = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_keep_apart_for_every_eye(palette, vision):
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in palette]
    least = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert least > 13  # a just noticeable difference is 2.3


@pytest.mark.parametrize(("palette", "ground"), [(LIGHT, LIGHT_GROUND), (DARK, DARK_GROUND)])
def test_colours_stand_out_from_their_ground(palette, ground):
    assert min(contrast(colour, ground) for colour in palette) >= 3


@pytest.mark.parametrize(
    ("palette", "ground"), [(LIGHT + MORE_LIGHT, LIGHT_GROUND), (DARK + MORE_DARK, DARK_GROUND)]
)
def test_twenty_optimizers_have_twenty_colours(palette, ground):
    assert len(set(palette)) == 20
    assert min(contrast(colour, ground) for colour in palette) >= 3
    seen = [lab(linear(colour)) for colour in palette]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 20


def test_forty_optimizers_differ_without_colour():
    found = styles(f"entry {n}" for n in range(40))
    assert len({(style.marker, style.dash) for style in found.values()}) == 40
    assert len({(style.symbol, style.dash) for style in found.values()}) == 40
    assert len({(style.light, style.marker) for style in found.values()}) == 40


def test_the_order_of_rows_decides_and_names_count_once():
    found = styles(["SGD", "Adam", "SGD", "Lion"])
    assert list(found) == ["SGD", "Adam", "Lion"]
    assert found["Adam"] == styles(["SGD", "Adam"])["Adam"]
    assert len(MARKERS) == len(SYMBOLS) == len(set(SYMBOLS))


def test_more_entries_than_looks_share_those_of_their_family():
    names = [f"entry {n}" for n in range(41)]
    families = {name: ("adaptive", "sign", "")[n % 3] for n, name in enumerate(names)}
    found = styles(names, families)
    assert len({found[name] for name in names if families[name] == "adaptive"}) == 1
    assert len(set(found.values())) == 3
    assert len(set(styles(names).values())) == 1
    assert len(set(styles(names[:40], families).values())) == 40
    assert [label for label, _ in legend_items(found.items())] == ["adaptive", "sign", "13 other entries"]


def test_the_baseline_of_many_entries_keeps_a_style_of_its_own():
    names = [f"entry {n}" for n in range(41)]
    found = styles(names, dict.fromkeys(names, "adaptive"), baselines={"entry 7"})
    assert found["entry 7"] == style(4)
    assert len({found[name] for name in names if name != "entry 7"}) == 1
    assert found["entry 6"].light != style(4).light
    assert [label for label, _ in legend_items(found.items())] == ["entry 7", "adaptive"]


def test_without_families_only_the_baseline_differs_from_many_entries():
    names = [f"entry {n}" for n in range(60)]
    found = styles(names, baselines={"entry 7"})
    assert len(set(found.values())) == 2
    assert legend_items(found.items()) == [("entry 7", style(4)), ("59 other entries", GREY)]
    assert legend_items(list(found.items())[:7]) == [("7 entries", GREY)]
    assert [label for label, _ in legend_items(styles(names[:40]).items())] == names[:40]
