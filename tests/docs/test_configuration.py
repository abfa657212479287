"""The page with all keys is what its generator writes."""

from __future__ import annotations

import runpy

from harness.config import Config
from tests.config.test_schema import config
from tests.conftest import ROOT
from tests.docs.pages import text


def test_the_page_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs/make_configuration.py"))["page"]()
    assert text("configuration.md") == page, "Run: python docs/make_configuration.py"


def test_every_key_has_a_meaning() -> None:
    found: Config = config()
    rows = [line.split(" | ") for line in text("configuration.md").splitlines() if line.startswith("| `")]
    meanings = {row[0].strip("| `"): row[-1].strip(" |") for row in rows}
    groups = {"model._target_", "model.init", "optimizer.name"}
    assert all(meanings[key] for key in found.flat() if key not in groups)
