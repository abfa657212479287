"""YAML written in parts is what it would be in one."""

import pytest
from omegaconf import OmegaConf

from harness.sweep.yaml_parts import in_yaml

LONG = "word " * 40


@pytest.mark.parametrize(
    "values",
    [
        {},
        [],
        {"a": {}},
        {"a": 1},
        {"a": {"b": None}},
        {"a": {"b": {"c": "d: e"}, "f": []}},
        {"ä": "x" * 200 + " y"},
        {"a": {"b": {"c": LONG}}, "b": LONG},
        {"on": {"1": {"": "two\nlines\n"}, "null": [{"a": LONG}, [1, [2]], "- x"]}},
        {1: {True: "?", 2.5: {"x": "#"}}},
        {"a": {"loggers": {"": {"level": "INFO", "handlers": ["b"]}, "c": {"d": 1}}}},
        {"k" * 200: {"a": {"b": 1}}, "two\nlines": {"a": {"b": 1}}, "?x": {"y": 1}, "? x:": {"y": 1}, ":": {"y": 1}},
    ],
    ids=repr,
)
def test_parts_make_the_whole(values):
    assert in_yaml(values, {}) == OmegaConf.to_yaml(OmegaConf.create(values))


def test_values_that_are_equal_but_not_the_same_are_told_apart():
    written = {}
    for value in (1, True, 1.0, "1", "true", None, "null"):
        values = {"a": value, "b": {"c": {"d": 0}, "e": {"d": value}}, "f": {value or 0: {"g": 0}}}
        assert in_yaml(values, written) == OmegaConf.to_yaml(OmegaConf.create(values))


def test_a_part_is_written_once(monkeypatch):
    written = {}
    first = in_yaml({"a": {"b": 1, "c": 2}, "d": 3}, written)
    dumped: list[dict] = []
    monkeypatch.setattr("harness.sweep.yaml_parts._dumped", lambda values: dumped.append(values) or f"{values}\n")
    assert in_yaml({"a": {"b": 1, "c": 2}, "d": 3}, written) == first
    assert not dumped
    in_yaml({"a": {"b": 1, "c": 4}, "d": 3}, written)
    assert {"a": {"c": 4}} in dumped
    assert all("d" not in values and "b" not in values["a"] for values in dumped)
