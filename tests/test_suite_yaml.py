"""YAML 1.2 scalars, places, and documents that are broken or hostile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optbench.errors import OptbenchError
from optbench.suite.yaml_source import Place, parse, read, resolves_to_text


def value_of(text: str) -> object:
    return parse(f"x: {text}", "s.yaml").data["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5e-4", 5e-4),
        (".5", 0.5),
        ("1.", 1.0),
        ("+1.5E3", 1500.0),
        ("30", 30),
        ("-7", -7),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2024-01-02", "2024-01-02"),
        ("'1e-3'", "1e-3"),
        ("5%", "5%"),
        ("1e", "1e"),
        (".", "."),
        ("!!str 5", "5"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 200])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    with pytest.raises(OptbenchError, match="expected a finite number"):
        value_of(text)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert parse("1: a\n1e-3: b\ntrue: c", "s").data == {"1": "a", "1e-3": "b", "true": "c"}


def test_places_of_keys_and_values_are_known() -> None:
    source = parse("a:\n  b: [1, {c: 2}]\n", "s.yaml")
    assert source.place(("a", "b")) == Place("s.yaml", 2, 3)
    assert source.place(("a", "b"), value=True) == Place("s.yaml", 2, 6)
    assert source.place(("a", "b", "1", "c")) == Place("s.yaml", 2, 11)
    assert source.place(("a", "unwritten", "deeper")) == Place("s.yaml", 1, 1)


def test_all_duplicate_keys_are_named_with_both_lines() -> None:
    with pytest.raises(OptbenchError) as caught:
        parse("a: 1\nb: 2\na: 3\nc: {d: 1, d: 2}\n", "s.yaml")
    assert [str(problem) for problem in caught.value.problems] == [
        "s.yaml:3:1: a: 'a' is given twice (first given in line 1)",
        "s.yaml:4:11: c.d: 'd' is given twice (first given in line 4)",
    ]


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    source = parse("base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nc:\n  y: 9\n  <<: [*b, *m]\nd: *b\n", "s")
    assert source.data["c"] == {"x": 1, "y": 9, "z": 4}
    assert source.data["d"] == {"x": 1, "y": 2}
    assert source.data["d"] is not source.data["base"]
    assert source.place(("c", "z")).line == 2
    assert source.place(("c", "y")).line == 4


def test_merging_something_else_than_a_mapping_is_refused() -> None:
    with pytest.raises(OptbenchError, match="expected a mapping to merge"):
        parse("a: &a 3\nb: {<<: *a}", "s")


def test_an_alias_bomb_is_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(OptbenchError, match="expected at most 100,000 values"):
        parse("\n".join(lines), "s")


def test_an_alias_to_what_contains_it_is_refused() -> None:
    with pytest.raises(OptbenchError, match="refers to a value that contains the alias"):
        parse("a: &a [1, *a]", "s")


@pytest.mark.parametrize("depth", [60, 3000])
def test_deep_nesting_is_refused(depth: int) -> None:
    with pytest.raises(OptbenchError, match="levels deep"):
        parse("[" * depth + "]" * depth, "s")


def test_tags_construct_nothing() -> None:
    with pytest.raises(OptbenchError, match="not supported") as caught:
        parse("a: !!python/object/apply:os.system [true]\nb: !mine 3", "s")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "opened in line 1; found the end"),
        ("a:\n\t- 1", "expected spaces for indentation; found a tab"),
        ("a: 1\n---\nb: 2", "found a second one"),
        ("a: \x01", "control character U\\+0001"),
        ("? [1]\n: 2", "expected a name before"),
    ],
)
def test_broken_documents_are_explained(text: str, message: str) -> None:
    with pytest.raises(OptbenchError, match=message) as caught:
        parse(text, "s.yaml")
    assert caught.value.problems[0].line is not None


def test_files_that_cannot_be_suites_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * 1_000_001)
    for path, message in [
        (latin, r"latin.yaml:2: expected UTF-8 text; found the byte 0xe9"),
        (huge, "at most 1 MB"),
        (tmp_path, "found a folder"),
        (tmp_path / "none.yaml", "no such file"),
        (Path("a\0b"), "cannot be read"),
    ]:
        with pytest.raises(OptbenchError, match=message):
            read(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(path).data == {"a": 1}


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_data_or_a_user_error(text: str) -> None:
    try:
        parse(text, "s")
    except OptbenchError as error:
        assert error.problems  # noqa: PT017


@pytest.mark.parametrize("text", ["1e-3", "true", "~", "<<", "", ".nan"])
def test_text_that_needs_quotes_is_known(text: str) -> None:
    assert not resolves_to_text(text)
    assert resolves_to_text("SGD + Momentum")


def test_escaped_surrogates_are_characters_or_an_error() -> None:
    assert parse(r'a: "\ud83e\udd80"', "s.yaml").data == {"a": "🦀"}
    for text in (r'a: "\ud800"', r'"\udfff": 1'):
        with pytest.raises(OptbenchError, match=r"s\.yaml:1:.*half of a surrogate pair"):
            parse(text, "s.yaml")
