"""The kinds of records in an outbox, and the validation of a line that holds one.

Lines are not trusted, since they may be damaged and their contents are written to the tracking store. So each line has
a checksum, and there is a closed set of kinds, each with a fixed set of fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from harness.runtime.state_files import checksum

Record = Mapping[str, Any]

LONGEST_SCHEMA, LONGEST_PROFILE = 1_048_575, 16_777_215
"""Maximum number of characters of a dataset's schema and profile that MLflow stores."""

_LONGEST_NAME = 250
RUN_ID = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_\-]*$", max_length=256)]
_ID = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_\-]+$", max_length=64)]
_KEY = Annotated[str, Field(pattern=re.compile(r"^[/\w.\- :]+\Z"), max_length=_LONGEST_NAME)]
"""Compiled with Python's `re`, which MLflow uses, because it accepts more letters, such as `²`, than the default
engine."""

_TEXT = Annotated[str, Field(max_length=1 << 24)]
_VALUE = Annotated[float, Field(allow_inf_nan=False)]
_STEP = Annotated[int, Field(ge=-(2**63), lt=2**63)]
LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999, in milliseconds since 1970."""

_MS = Annotated[int, Field(ge=0, le=LATEST)]

_FILE = Annotated[str, Field(pattern=r"^\w[\w.\- ]*$", max_length=_LONGEST_NAME)]
"""A name without a folder."""

_OWN_FILE = Annotated[str, Field(pattern=r"^[0-9]+/\w[\w.\- ]*$", max_length=_LONGEST_NAME)]
"""A path inside the folder for the files of the outbox."""

_STRICT = with_config(ConfigDict(extra="forbid"))


@_STRICT
class _Params(TypedDict):
    kind: Literal["params"]
    run: RUN_ID
    values: dict[_KEY, _TEXT]


@_STRICT
class _Metrics(TypedDict):
    kind: Literal["metrics"]
    run: RUN_ID
    values: dict[_KEY, _VALUE]
    step: _STEP
    ms: _MS


@_STRICT
class _Curve(TypedDict):
    kind: Literal["curve"]
    run: RUN_ID
    key: _KEY
    points: list[tuple[_STEP, _VALUE]]
    ms: _MS


@_STRICT
class _Tags(TypedDict):
    kind: Literal["tags"]
    run: RUN_ID
    values: dict[_KEY, _TEXT]


@_STRICT
class _DatasetFields(TypedDict):
    name: Annotated[str, Field(max_length=500)]
    digest: Annotated[str, Field(max_length=36)]
    source_type: Annotated[str, Field(max_length=36)]
    source: Annotated[str, Field(max_length=65_535)]
    schema: Annotated[str, Field(max_length=LONGEST_SCHEMA)]
    profile: Annotated[str, Field(max_length=LONGEST_PROFILE)]


@_STRICT
class _Input(TypedDict):
    context: Annotated[str, Field(max_length=500)]
    dataset: _DatasetFields


@_STRICT
class _Dataset(TypedDict):
    kind: Literal["dataset"]
    run: RUN_ID
    inputs: list[_Input]


@_STRICT
class _TextFile(TypedDict):
    kind: Literal["text"]
    run: RUN_ID
    text: str
    file: _FILE


@_STRICT
class _Artifact(TypedDict):
    kind: Literal["artifact"]
    run: RUN_ID
    path: _OWN_FILE
    folder: _FILE | Literal[""]


@_STRICT
class _Model(TypedDict):
    kind: Literal["model"]
    run: RUN_ID
    path: _OWN_FILE


@_STRICT
class _Experiment(TypedDict):
    kind: Literal["experiment"]
    run: Literal[""]
    experiment: _ID
    key: _KEY
    value: _TEXT


@_STRICT
class _End(TypedDict):
    kind: Literal["end"]
    run: RUN_ID
    status: Literal["FINISHED", "FAILED", "KILLED"]
    ms: _MS


_Held = _Metrics | _Curve | _Tags | _End

HELD_KINDS = {kind for each in get_args(_Held) for kind in get_args(get_type_hints(each)["kind"])}
"""Kinds of records that may be held back; for other kinds, it does not matter when they are created."""

HeldRecord = Annotated[_Held, Field(discriminator="kind")]
"""A record of one of these kinds, in the form stored in checkpoints."""

_RECORD: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Params | _Metrics | _Curve | _Tags | _Dataset | _TextFile | _Artifact | _Model | _Experiment | _End,
        Field(discriminator="kind"),
    ]
)


class InvalidRecord(ValueError):
    """An undamaged line is not a record of this version.

    Attributes:
        run: The run to which it appears to refer.
    """

    def __init__(self, run: str, fault: str) -> None:
        super().__init__(fault)
        self.run = run


def to_line(record: Record) -> bytes:
    """Return a record as a line, including the line break."""
    content = json.dumps(record, separators=(",", ":")).encode()
    return checksum(content).encode() + b" " + content + b"\n"


def from_line(line: bytes) -> Record:
    """Return the record in a line.

    Raises:
        InvalidRecord: The line is not a record of this version.
        ValueError: The line is damaged.
    """
    expected, _, content = line.rstrip(b"\n").partition(b" ")
    if checksum(content).encode() != expected:
        raise ValueError("damaged")
    try:
        return _RECORD.validate_json(content, strict=True)
    except ValidationError as error:
        record = json.loads(content)
        first = error.errors(include_url=False, include_input=False)[0]
        fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")[:200]
        raise InvalidRecord(str(record.get("run")) if isinstance(record, dict) else "", fault) from error
