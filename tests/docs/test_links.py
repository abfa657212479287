"""Links, keys and commands on the pages exist."""

from __future__ import annotations

import re
from dataclasses import fields
from fnmatch import fnmatch

import click

from harness.cli.main import cli
from harness.config import ImagesConfig
from tests.config.test_schema import config
from tests.conftest import ROOT

FILES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in FILES}
DATA = ROOT / "harness/data"


def test_links() -> None:
    for name, page in PAGES.items():
        for link in re.findall(r"\]\(([^)#:]+)\)", page):
            assert (ROOT / name).parent.joinpath(link).exists(), f"{name}: {link}"


def test_the_architecture_names_every_module_and_no_other() -> None:
    rooms = re.findall(r"^\| `([a-z]+)` \|.*\| (.*) \|$", PAGES["docs/architecture.md"], re.MULTILINE)
    assert len(rooms) == 8
    for room, files in rooms:
        folder = ROOT / "harness" / room
        modules = {path.stem for path in folder.glob("[!_]*.py")} | {
            f"{path.parent.name}/" for path in folder.glob("*/__init__.py")
        }
        named = set(re.findall(r"`([a-z_*]+/?)`", files))
        assert not [module for module in modules if not any(fnmatch(module, name) for name in named)], room
        assert not [name for name in named if not any(fnmatch(module, name) for module in modules)], room


def test_keys() -> None:
    images = {f"data.{each.name}" for each in fields(ImagesConfig)}
    known = set(config().flat()) | images | {"data.md"} | {f"data.{path.stem}" for path in DATA.glob("*")}
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
