"""What is said before TensorFlow is loaded: that something happens, and what is wrong."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from harness.cli.commands import predict
from harness.cli.own_words import overrides
from harness.cli.train_help import train_help
from harness.config import DataConfig
from harness.config.schema import TrackingConfig
from harness.data.profiling.first_rows import check_first_rows
from harness.errors import ConfigError


@pytest.mark.parametrize("name", ["first try", "it's", "a\\", "a\\'b", "[x], {y} = ${z}", '"', "größe"])
def test_any_name_can_be_given(name: str) -> None:
    words = overrides(["-m", "--name", name, "epochs=1,2", f"--name={name}", "tracking.tags.team=x"])
    parsed = OverridesParser.create().parse_overrides([words[1], words[3]])
    assert [override.value() for override in parsed] == [name, name]
    assert words[4] == "++tracking.tags.team=x"


def test_a_name_that_is_missing_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="--name needs a name"):
        overrides(["epochs=1", "--name"])


@pytest.mark.parametrize("key", ["kind", "stopped_at", "search", "mlflow.note.content", "a<b"])
def test_tags_of_our_own_cannot_be_set(key: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.tags: a tag cannot have the name"):
        TrackingConfig(tags={key: "x"})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"path": "none.csv"}, "data.path: no such file"),
        ({"features": ["c"]}, "has no column c"),
        ({"target": "y"}, "y is 'word'"),
    ],
)
def test_wrong_data_is_found_in_the_first_rows(tmp_path: Path, options: dict, sentence: str) -> None:
    (tmp_path / "file.csv").write_text("a,b,y\n1,2,word\n")
    data = {"features": ["a"], "target": "b", "path": str(tmp_path / "file.csv")} | options
    with pytest.raises(ConfigError, match=sentence):
        check_first_rows(DataConfig(**data))


def test_predict_looks_for_the_file_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"PATH: no such file or folder: none\.csv"):
        predict.main(["last", "none.csv"], standalone_mode=False)
    assert not list(tmp_path.iterdir())


def test_data_of_which_only_the_first_rows_are_right_is_left_to_the_pass_over_all(tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("a,b\n" + "1,2\n" * 100_000 + "x,y\n")
    check_first_rows(DataConfig(features=["a"], target="b", path=str(tmp_path / "file.csv")))


@pytest.mark.parametrize("width", [80, 100])
def test_help_has_every_key_and_its_meaning(width: int) -> None:
    lines = train_help(width).splitlines()
    assert max(map(len, lines)) <= width
    at = lines.index("  epochs (5)")
    assert lines[at + 1] == "      Passes over all training rows."
    for start in (
        "  --trust ",
        "  --name ",
        "  tracking.note ",
        "  runtime.cache ",
        "  data.holdout ",
        "  data.target",
        "  search.trials ",
        "  search ",
        "  stopping.patience",
        "  objective.metric",
    ):
        assert any(line.startswith(start) for line in lines), start


def test_the_quoting_that_help_shows_works() -> None:
    words = shlex.split("\"data.target='price (EUR)'\" \"data.features=['a b','c,d']\"")
    target, features = OverridesParser.create().parse_overrides(words)
    assert (target.value(), features.value()) == ("price (EUR)", ["a b", "c,d"])
