"""Different names have different keys, and MLflow accepts all of them."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, path_not_unique, validate_param_and_metric_name

from harness.config.keys import category_key, fitted, key_of, layer_name, other_key
from harness.config.schema import flatten
from harness.data.statistics import Column, input_keys

TRICKY = st.text("a:x3c/.<é\u0301 0F\n", max_size=12)
NAMES = st.one_of(TRICKY, st.text(max_size=20), st.text("ab<", min_size=240, max_size=260))
ORDINARY = ["sqft_living", "living area", "a.b", "a-b", "a/b", "größe", "12:30:45", "a:b", "m²", "_", "0", "Age", "..a"]


def decoded(key: str) -> str:
    return re.sub(":x([0-9a-f]*):", lambda code: chr(int(code[1], 16)) if code[1] else "", key)


def is_accepted(key: str) -> bool:
    """Return True if MLflow accepts a key."""
    is_short = len(key) <= MAX_ENTITY_KEY_LENGTH
    return is_short and bool(validate_param_and_metric_name(key)) and not path_not_unique(key)


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_name_is_its_own_key(name: str) -> None:
    assert key_of(name) == layer_name(name).replace(":x2f:", "/") == name
    assert fitted(f"weight/{name}") == f"weight/{name}"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a<30", "a:x3c:30"),
        ("price (USD)", "price :x28:USD:x29:"),
        ("a//b", "a/:x2f:b"),
        ("a/", "a:x2f:"),
        ("/", ":x2f:"),
        ("a/../b", "a/:x2e:./b"),
        ("", ":x:"),
        ("a:x3c:", "a:x3a:x3c:x3a:"),
        ("e\u0301", "e:x301:"),
        ("\u212b", ":x212b:"),  # Normalization makes it Å.
    ],
)
def test_other_characters_are_written_by_their_code_points(name: str, key: str) -> None:
    assert key_of(name) == key


@given(NAMES, st.sampled_from(["", "/", "."]))
@example(":x", "")
@example("a:x3a:<", "")
def test_a_name_can_be_read_from_its_key(name: str, reserved: str) -> None:
    key = key_of(name, reserved)
    assert decoded(key) == name
    assert decoded(layer_name(name)) == name
    assert not {*reserved} & {*key}
    assert "/" not in layer_name(name)
    assert unicodedata.is_normalized("NFC", key)
    whole = fitted(f"weight/{key}")
    assert is_accepted(whole)


@given(st.lists(NAMES, min_size=2, max_size=6, unique=True))
@example(["x" * 260, "x" * 261])
@example(["x" * 243, "x" * 244])
@example(["x" * 260, fitted("weight/" + "x" * 260).removeprefix("weight/")])
def test_different_names_have_different_metrics(names: list[str]) -> None:
    assert len({fitted(f"weight/{key_of(name)}") for name in names}) == len(names)
    assert len({layer_name(name) for name in names}) == len(names)


NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda value: value or 0.0)
CATEGORIES = st.one_of(
    st.just(()),
    st.lists(st.one_of(NAMES, st.just("other")), min_size=1, max_size=4, unique=True).map(tuple),
    st.lists(NUMBERS, min_size=1, max_size=4, unique=True).map(tuple),
)


@given(st.dictionaries(st.one_of(NAMES, st.sampled_from(["a", "a/b", "a/other", "a/b/c"])), CATEGORIES, min_size=1))
@example({"a": ("b", "other", "b/c"), "a/b": (), "a/other": (), "a/b/c": (), "a:x2f:b": ()})
@example({"a": (1234567.0, 1234568.0, 16777216.0, 16777218.0, 3e38, 1e-9, 0.5)})
@example({"a/b": ("c",), "a": ("b/c",)})
def test_different_inputs_have_different_metrics(features: dict[str, tuple]) -> None:
    columns = [Column(name, False, 1, 0.0, 1.0, 0.0, 0.0, found) for name, found in features.items()]
    keys = input_keys(columns)
    assert len(keys) == sum(column.inputs for column in columns)
    metrics = {fitted(f"weight/{key}") for key in keys}
    assert len(metrics) == len(keys)
    assert all(map(is_accepted, metrics))


def test_a_category_is_named_after_its_column() -> None:
    assert category_key("where", "north") == "where/north"
    assert category_key("where", "N/A") == "where/N/A"
    assert category_key("where", "other") == "where/:x6f:ther"
    assert other_key("where") == "where/other"


@pytest.mark.parametrize(
    ("number", "text"), [(3.0, "3"), (98001.0, "98001"), (0.5, "0.5"), (1e6, "1000000"), (-1.5, "-1.5")]
)
def test_a_category_that_is_a_number_is_written_plainly(number: float, text: str) -> None:
    assert input_keys([Column("a", False, 1, 0.0, 1.0, 0.0, 0.0, (number,))]) == ["a/other", f"a/{text}"]


def test_nested_settings_keep_their_keys_apart() -> None:
    settings = [{"a": {"b.c": 1}}, {"a": {"b": {"c": 1}}}, {"a.b": {"c": 1}}, {"a": {"b<c": 1}}, {"a": {"b>c": 1}}]
    for one, other in itertools.combinations(settings, 2):
        assert flatten(one).keys() != flatten(other).keys()
    assert flatten({"model": {"_target_": "a.b", "units": [1, 2]}}) == {"model._target_": "a.b", "model.units": [1, 2]}
