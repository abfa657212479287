"""`data.features=all`, patterns and `data.exclude` become the names of columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import DataConfig
from harness.data.features import name_features
from harness.errors import ConfigError

HEADER = "id,sqft_a,sqft_b,note,note,a*b,price\n"


def named(path: Path, **keys: object) -> list[str]:
    data = DataConfig(target="price", path=str(path), **keys)  # type: ignore[arg-type]
    found = name_features(data, path.parent, lambda state: None, print)
    assert found.exclude == []
    return found.features


@pytest.mark.parametrize(
    ("keys", "features"),
    [
        ({"features": "all", "exclude": ["note", "id"]}, ["sqft_a", "sqft_b", "a*b"]),
        ({"features": ["*"], "exclude": ["*t*"]}, ["id", "a*b"]),
        ({"features": ["sqft_*", "id"]}, ["sqft_a", "sqft_b", "id"]),
        ({"features": ["a*b", "i?"]}, ["a*b", "id"]),
        ({"features": ["id", "sqft_b"]}, ["id", "sqft_b"]),
    ],
)
def test_patterns(write, keys: dict, features: list[str]) -> None:
    assert named(write(HEADER), **keys) == features


def test_duplicate_names_are_left_out_and_reported(write, capsys: pytest.CaptureFixture[str]) -> None:
    assert named(write(HEADER), features="all") == ["id", "sqft_a", "sqft_b", "a*b"]
    assert capsys.readouterr().out == (
        "data.features leaves out note: more than one column has that name. Set data.names to tell them apart.\n"
    )
    named(write(HEADER), features="all", exclude=["note"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"features": ["x*"]}, "data.features: no column of {path} matches x*."),
        ({"features": "all", "exclude": ["z*"]}, "data.exclude: no column of {path} matches z*."),
        ({"features": "all", "exclude": ["*"]}, "data.exclude leaves no features."),
        ({"features": ["id"], "exclude": ["a"]}, "data.exclude needs data.features=all or a pattern such as sqft_*."),
        ({"features": ["sqft_*"], "log_columns": ["id"]}, "data.log_columns: id not in data.features and data.target"),
        ({"features": ["note", "id*"]}, "{path}, line 1: duplicate column names note."),
        ({"features": ["no*"]}, "data.features: duplicate column names note in {path}. Set data.names."),
        ({"features": "some"}, "data.features must be a list, such as data.features=[a,b], or all."),
    ],
)
def test_refused_patterns(write, keys: dict, sentence: str) -> None:
    path = write(HEADER)
    with pytest.raises(ConfigError) as error:
        named(path, **keys)
    assert str(error.value).startswith(sentence.format(path=path))
