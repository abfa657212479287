"""Links between pages lead somewhere."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def test_links_between_pages() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
