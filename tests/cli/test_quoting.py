"""Arguments as a shell passes them, and commands that messages suggest pasting into a shell."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from harness.cli.words import quote_for_hydra, suggestion
from harness.config.overrides import override


def parsed(word: str) -> Any:
    return OverridesParser.create().parse_override(word).value()


def in_bash(words: str) -> list[str]:
    """Return the arguments that bash passes on."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data.delimiter=';'", ";"),
        ("data.delimiter=tab", "tab"),
        (r"data.delimiter='\t'", r"\t"),
        ("data.delimiter=,", ","),
        ("data.thousands=' '", " "),
        ("data.comment='#'", "#"),
        ("data.path=~/x.csv", "~/x.csv"),
        ("data.path='my houses (1).csv'", "my houses (1).csv"),
        ("data.path=a#b=c&d!.csv", "a#b=c&d!.csv"),
        ("data.path=größe-中文.csv", "größe-中文.csv"),
        ('data.target="it\'s"', "it's"),
        ("data.target='area [m2]'", "area [m2]"),
        ("data.features='[area (m²),größe,0,x]'", ["area (m²)", "größe", 0, "x"]),
        ("data.features='[area [m2], b]'", ["area [m2]", "b"]),
        ("data.na_values='[?,-,-999,#]'", ["?", "-", -999, "#"]),
        ("data.date_format='%d.%m.%Y %H:%M'", "%d.%m.%Y %H:%M"),
        ("learning_rate=0.1", 0.1),
        ("model.units=[8,8]", [8, 8]),
    ],
)
def test_arguments_from_bash_keep_their_meaning(typed: str, value: object) -> None:
    typed = typed.replace("&", r"\&").replace("!", r"\!") if "&" in typed else typed
    (word,) = quote_for_hydra(in_bash(typed))
    assert parsed(word) == value


@pytest.mark.parametrize("word", ["data.target=größe,preis", "data.path=[a,'b]", "epochs=[1", "-m", "plain"])
def test_words_that_may_mean_several_things_stay(word: str) -> None:
    assert quote_for_hydra([word]) == [word]


def test_the_quoting_that_works_is_shown() -> None:
    said = suggestion("data.target=größe,preis €")
    one, several = said.removeprefix("Write ").removesuffix(" for several.").split(" for one value, or ")
    assert parsed(in_bash(one)[0]) == "größe,preis €"
    swept: Any = OverridesParser.create().parse_override(in_bash(several)[0])
    assert [str(each.text) for each in swept.value().list] == ["größe", "preis €"]
    assert suggestion("epochs=[1") == ""


NAMES = ["a b", "[a]", "a,b", "a=b", "it's", 'a"b', "a\\", "größe", "1st", "5", "-5", ".5", "1e5", "true", "null", "$a"]
NAMES += ["${a}", "?", "-", "#", ";", "\t", " ", "%", "~", "中", "inf", "a:b", "{a}", "*", "!x"]


@pytest.mark.parametrize("name", NAMES)
def test_what_messages_offer_survives_bash_and_hydra(name: str) -> None:
    for value in (name, [name, "b"]):
        (word,) = in_bash(override("data.k", value))
        assert parsed(word) == value
        assert quote_for_hydra([word]) == [word]
        assert shlex.split(override("data.k", value)) == [word]
