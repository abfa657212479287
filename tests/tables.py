"""Short ways to see what a table holds, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.table import Table
from harness.data.table_writer import Part
from harness.errors import ConfigError

SMALL = "a,text,b,y\n1,u,-1,10\n2,v,-2,2e1\n3,w,-3,30\n4,x,-4,40\n5,y,-5,50\n"


def rows(table: Table, part: Part = "train") -> np.ndarray:
    """All rows of a part, `[rows, columns]`."""
    return table.read(part, 0, table.rows(part)).T


def numbered(count: int, *, gaps: int = 0) -> str:
    """Rows with their number in the column `row`; every `gaps`-th lacks its `a`."""
    lines = (f"{'' if gaps and not row % gaps else row * row},{row + 1},{row}" for row in range(count))
    return "a,y,row\n" + "\n".join(lines)


def refusal(make_table: Callable[..., Table], source: str | Path, **options: object) -> str:
    with pytest.raises(ConfigError) as error:
        make_table(source, **options)
    return str(error.value)
