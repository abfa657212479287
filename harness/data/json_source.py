"""JSON lines as typed chunks: a file with one object per line, whose values are read like those of a CSV."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from harness.config.dialect import Dialect
from harness.data.csv.lines import lines_of
from harness.data.csv.text import open_text
from harness.data.selection import Chunk, Locate, Words
from harness.data.source import Source, check_names
from harness.data.text_values import to_column
from harness.errors import require

_ONE_PER_LINE = "The file must have one object per line"

SAMPLED_LINES = 1000
"""Number of lines whose keys are the names of the columns."""

_NAME = re.compile(r"\.(jsonl|ndjson|json)(?!.*\.(csv|tsv|txt)\b)(\.|$)", re.IGNORECASE)
_LINE_BYTES = 1 << 10
"""Lines are converted in groups of about `block_bytes / _LINE_BYTES`."""


class JsonLinesSource(Source):
    """A file with one JSON object per line, plain or compressed."""

    keys = frozenset({"encoding", "decimal", "thousands", "strip", "na_values", "keep_default_na"})

    @classmethod
    def recognizes(cls, address: str, start: bytes) -> bool:
        """Check whether the name has a suffix of JSON lines, or the file starts with an object."""
        return bool(_NAME.search(address.partition("?")[0])) or bool(re.match(rb'\s*\{\s*"', start))

    def names(self) -> list[str]:
        """Return the keys in the first lines, in order of appearance."""
        with open_text(self.file, self._dialect()) as (text, _):
            objects = itertools.islice(self._objects(lines_of(text)), SAMPLED_LINES)
            return list(dict.fromkeys(key for _, record in objects for key in record))

    def read(self) -> Generator[Chunk]:
        """Read lines in groups; a key that is missing or null is an empty field."""
        check_names(self.file.address, self.names(), self.selection.columns)
        with open_text(self.file, self._dialect()) as (text, below):
            objects = self._objects(lines_of(text))
            while group := list(itertools.islice(objects, max(1, self.selection.block_bytes // _LINE_BYTES))):
                lines = [line for line, _ in group]
                locate = partial(_name_line, self.file.address, lines)
                booleans: dict[str, int] = {}
                columns = [self._column(name, group, locate, booleans) for name in self.selection.columns]
                yield Chunk(columns, locate, below.tell(), booleans)

    def _dialect(self) -> Dialect:
        """Return the dialect of the text; in JSON, delimiters, decimal marks and comments cannot be configured."""
        return Dialect(encoding=self.selection.dialect.encoding)

    def _objects(self, lines: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number and the object of each line that is not blank; numbers are kept as text."""
        address = self.file.address
        for line, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            record: Any = None
            reason = ""
            try:
                record = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
            except (ValueError, RecursionError) as error:
                reason = f" ({error})"
            is_array = line == 1 and text.lstrip().startswith(b"[")
            require(
                isinstance(record, dict),
                f"{address} is one JSON array. {_ONE_PER_LINE}: `jq -c '.[]' FILE` writes them."
                if is_array
                else f"{address}, line {line}: not a JSON object{reason}. {_ONE_PER_LINE}.",
            )
            yield line, record

    def _column(
        self, name: str, group: list[tuple[int, dict[str, Any]]], locate: Locate, booleans: dict[str, int]
    ) -> np.ndarray | Words:
        values = [record.get(name) for _, record in group]
        for row, value in enumerate(values):
            nested = isinstance(value, dict | list)
            require(not nested, f"{locate(row)}: {name} is a list or an object, not a value. Leave {name} out.")
        text = pd.Series(["" if value is None else _written(value) for value in values], dtype="str")
        return to_column(name, text, self.selection, locate, booleans)


class _Number(str):
    """A number as written."""


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name_line(address: str, lines: list[int], row: int) -> str:
    return f"{address}, line {lines[row]}"
