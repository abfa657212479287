"""Links, keys and commands on the pages exist."""

from __future__ import annotations

import re

import click

from harness.cli.main import cli
from tests.config.test_schema import config
from tests.conftest import ROOT

NAMES = ("lesson", "configuration", "comparison", "data", "reliability", "extending")
PAGES = {f"{name}.md": (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}


def test_links_between_pages() -> None:
    for name, page in PAGES.items():
        for link in re.findall(r"\]\(([^)#:]+)\)", page):
            assert (ROOT / "docs" / link).exists(), f"{name}: {link}"


def test_keys() -> None:
    known = set(config().flat()) | {"data.md", "data.source", "data.formats"}
    for name, page in PAGES.items():
        for key in re.findall(r"(?<![\w/.])(?:data|runtime|tracking)\.[a-z_]+", page):
            assert key in known, f"{name}: {key}"


def test_commands_and_options() -> None:
    for name, page in PAGES.items():
        for verb, rest in re.findall(r"harness ([a-z]+(?: (?:describe|generate|list|verify|clean))?)( [^`\n]*)?", page):
            command: click.Command | None = cli
            for word in verb.split():
                command = (
                    command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
                )
            if command is None:
                continue
            known = {option for parameter in command.params for option in parameter.opts}
            for option in re.findall(r"(?<= )--[a-z-]+", rest):
                assert option in known or verb in ("train", "plan"), f"{name}: harness {verb} {option}"
