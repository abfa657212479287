"""Local files that `data.path` names."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.storage.addresses import find_addresses
from harness.errors import ConfigError


@pytest.mark.parametrize("name", ["[a]", "a*b", "a?b", "a%41b#c"])
def test_the_working_folders_name_is_not_a_pattern(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    for path in ("part-2.csv", "part-1.csv", "deep/part-3.csv", "[b].csv", "../a/part-9.csv"):
        (folder / path).write_text("")
    monkeypatch.chdir(folder)
    assert find_addresses("part-*.csv") == [f"{folder}/part-1.csv", f"{folder}/part-2.csv"]
    assert find_addresses("**/part-3.csv") == [f"{folder}/deep/part-3.csv"]
    assert find_addresses("[b].csv") == [f"{folder}/[b].csv"]
    assert find_addresses(f"{tmp_path}/a/*.csv") == [f"{tmp_path}/a/part-9.csv"]


def test_a_home_that_does_not_exist_is_a_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"^data\.path: no such file: .*/~nobody-here/x\.csv$"):
        find_addresses("~nobody-here/x.csv")
