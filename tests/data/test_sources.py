"""Single files, patterns, lists, compressed files and streams give the same table; errors name the file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from harness.config import DataConfig
from harness.data.ingest import IngestProgress
from harness.data.selection import BLOCK_BYTES
from harness.data.storage.files import open_file
from harness.data.tables.builder import open_table
from harness.data.tables.table import Table
from harness.errors import ConfigError
from tests.tables import refusal, rows

WHOLE = "a,text,y\n" + "".join(f"{row},u,{row * row}\n" for row in range(100))


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def zipped(content: bytes, *others: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", content)
        for name in others:
            archive.writestr(name, "")
    return sink.getvalue()


PACKS = [gzip.compress, zstd, bz2.compress, lzma.compress, zipped]


def make(path: object, cache: Path, *, block_bytes: int = BLOCK_BYTES, **options: Any) -> Table:
    return open_table(DataConfig(["a"], "y", path=path, holdout=0.3, **options), cache, block_bytes=block_bytes)


@pytest.fixture
def whole(write, tmp_path: Path) -> Table:
    """The table of `WHOLE`, made from one plain file."""
    return make(str(write(WHOLE, "whole.csv")), tmp_path / "plain")


# Several files.


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """A folder with `WHOLE` split into three files, each with a header, and with unrelated entries."""
    header, *body = WHOLE.splitlines(keepends=True)
    folder = tmp_path / "pieces"
    (folder / "part-9.csv").mkdir(parents=True)
    for name, start, stop in (("part-1.csv", 0, 30), ("part-2.csv", 30, 31), ("part-3.csv", 31, 100)):
        (folder / name).write_text("".join([header, *body[start:stop]]))
    (folder / "other.csv").write_text("b\n1\n")
    return folder


def test_the_files_of_a_pattern_are_read_in_the_order_of_their_names(
    pieces: Path, tmp_path: Path, whole: Table
) -> None:
    found = make(str(pieces / "part-*.csv"), tmp_path / "cache")
    assert (found.digest, found.columns, found.drift) == (whole.digest, whole.columns, whole.drift)
    assert (found.address, found.name) == (str(pieces / "part-1.csv"), "part-1.csv")


def test_a_list_is_read_in_the_order_given(pieces: Path, tmp_path: Path) -> None:
    names = [str(pieces / f"part-{number}.csv") for number in (3, 1, 2)]
    table = open_table(DataConfig(["a"], "y", path=names, holdout=0.0), tmp_path)
    assert rows(table)[:, 0].tolist() == [*range(31, 100), *range(31)]


def test_files_may_differ_in_column_order_and_compression(pieces: Path, tmp_path: Path, whole: Table) -> None:
    second = pieces / "part-2.csv"
    second.write_text("y,a\n900,30\n")
    third = pieces / "part-3.csv"
    third.write_bytes(gzip.compress(third.read_bytes()))
    assert make(str(pieces / "part-*.csv"), tmp_path / "cache").digest == whole.digest


def test_an_error_names_the_file(pieces: Path, tmp_path: Path) -> None:
    (pieces / "part-2.csv").write_text("a,y\n1,x\n")
    with pytest.raises(ConfigError) as error:
        make(str(pieces / "part-*.csv"), tmp_path / "cache")
    hint = "If y is a label, set loss=sparse_categorical_crossentropy."
    assert str(error.value) == f"{pieces}/part-2.csv, line 2: y is 'x', not a number. {hint}"


def test_a_change_of_any_file_is_noticed(pieces: Path, tmp_path: Path, whole: Table) -> None:
    pattern = str(pieces / "part-*.csv")
    before = make(pattern, tmp_path / "cache")
    with (pieces / "part-2.csv").open("a") as file:
        file.write("5,u,6\n")
    after = make(pattern, tmp_path / "cache")
    assert after.train_rows + after.holdout_rows == before.train_rows + before.holdout_rows + 1


# Compressed files.


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("name", ["file.csv.gz", "file.csv"])
@pytest.mark.parametrize("block_bytes", [50, 16 << 20])
def test_a_compressed_file(write, tmp_path: Path, whole: Table, pack, name: str, block_bytes: int) -> None:
    """Compression is recognized by content, not by name."""
    assert (
        make(str(write(pack(WHOLE.encode()), name)), tmp_path / "cache", block_bytes=block_bytes).digest == whole.digest
    )


def test_a_compressed_file_of_two_members(write, tmp_path: Path, whole: Table) -> None:
    content = WHOLE.encode()
    for pack in (gzip.compress, zstd):
        path = write(pack(content[:100]) + pack(content[100:]))
        assert make(str(path), tmp_path / "cache").digest == whole.digest


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_truncated_compressed_file_is_refused(make_table, write, tmp_path: Path, pack) -> None:
    noise = np.random.default_rng(0).random(20_000)
    whole = pack(("a,y\n" + "".join(f"{value},1\n" for value in noise)).encode())
    path = write(whole[: len(whole) // 2])
    said = refusal(make_table, path)
    assert said.startswith(f"data.path: {path} is ")
    assert "truncated" in said.lower()
    assert list((tmp_path / "cache" / "tables").iterdir()) == []


@pytest.mark.parametrize("start", [b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
def test_a_damaged_compressed_file_is_refused(make_table, write, start: bytes) -> None:
    path = write(start + b"a,y\n1,2\n" * 100)
    assert refusal(make_table, path).startswith(f"data.path: {path} is damaged (")


def test_an_archive_of_several_files_and_a_workbook_are_refused(make_table, write) -> None:
    path = write(zipped(b"a,y\n1,2\n", "notes.txt"))
    assert refusal(make_table, path) == (
        f"data.path: {path} must contain exactly one file, but contains inside.csv, notes.txt. Unzip it."
    )
    assert "is an Excel workbook. Save the sheet as CSV" in refusal(make_table, write(zipped(b"", "xl/workbook.xml")))


# Other encodings.


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "cp1252", "utf-8-sig"])
@pytest.mark.parametrize("block_bytes", [50, 16 << 20])
def test_other_encodings(write, tmp_path: Path, whole: Table, encoding: str, block_bytes: int) -> None:
    path = write(WHOLE.replace("u", "ü").encode(encoding))
    assert make(str(path), tmp_path / "cache", encoding=encoding, block_bytes=block_bytes).digest == whole.digest


# Streams.


def test_a_fifo_is_read_once(tmp_path: Path, whole: Table) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(WHOLE,))
    writer.start()
    table = make(str(path), tmp_path / "cache")
    writer.join()
    assert table.digest == whole.digest
    assert make(str(path), tmp_path / "cache") == table, "in this process, the table that was made from it"
    with pytest.raises(ConfigError) as error:
        make(str(path), tmp_path / "cache", split_seed=1)
    assert str(error.value) == (f"data.path: {path} is a stream and can be read only once; save it to a file first.")


@pytest.mark.slow
def test_an_idle_stream_can_be_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    program = PROGRAM.replace('"/dev/stdin"', "sys.argv[2]").replace("import sys", "import signal, sys", 1)
    ready = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\nprint('ready', flush=True)"
    program = program.replace("\nprint", f"\n{ready}\nprint")
    keep_open = os.open(path, os.O_RDWR)
    os.write(keep_open, b"a,y\n1,2\n")
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "cache", path], stdout=-1, stderr=-1) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            time.sleep(2)
            process.terminate()
            assert process.wait(timeout=30) == 143
        finally:
            process.kill()
            os.close(keep_open)


PROGRAM = """
import sys
from pathlib import Path
from harness.config import DataConfig
from harness.data.tables.builder import open_table

print(open_table(DataConfig(["a"], "y", path="/dev/stdin", holdout=0.3), Path(sys.argv[1])).digest)
"""


def test_standard_input_is_a_new_source_in_each_process(tmp_path: Path, whole: Table) -> None:
    def digest(content: str) -> str:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "cache")]
        return subprocess.run(command, input=content, capture_output=True, text=True, check=True).stdout.strip()

    assert digest(WHOLE) == whole.digest
    assert digest(WHOLE + "1,u,2\n") != whole.digest
    assert digest(WHOLE) == whole.digest


# No permission, and no space.


def test_a_file_without_permission_is_refused() -> None:
    """Root can read everything, so the test switches to another user."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.csv")
        path.write_text(WHOLE)
        path.chmod(0)
        Path(folder).chmod(0o755)
        user = os.geteuid()
        os.seteuid(user or 65534)
        try:
            with pytest.raises(ConfigError) as error:
                open_file(str(path)).fingerprint()
        finally:
            os.seteuid(user)
    assert str(error.value) == f"data.path: cannot read {path}: Permission denied"


FULL_DISK = """
import resource, sys
from pathlib import Path
from harness.config import DataConfig
from harness.data.tables.builder import open_table

cache, path, other = map(Path, sys.argv[1:])
table = open_table(DataConfig(["a"], "y", path=str(path), holdout=0.0), cache)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    open_table(DataConfig(["a"], "y", path=str(other), holdout=0.0), cache)
except ValueError as error:
    print(type(error).__name__, error)
print(sum(column.sum() for column in table.read("train", 0, 100)))
"""


def test_a_full_disk_is_reported_and_other_tables_stay(write, tmp_path: Path) -> None:
    """A limit on the size of files simulates a full disk."""
    path, other = write(WHOLE), write("a,y\n" + "1,2\n" * 1000, "other.csv")
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "cache", path, other]
    said, total = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said.startswith("ConfigError runtime.cache: cannot write to ")
    assert "(File too large)" in said
    assert total == str(float(sum(row + row * row for row in range(100))))
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 1


def test_a_file_that_grows_while_it_is_read_is_refused(write, tmp_path: Path) -> None:
    path = write(WHOLE)

    def grow(state: IngestProgress) -> None:
        with path.open("a") as file:
            file.write("1,u,1\n")

    with pytest.raises(ConfigError) as error:
        open_table(DataConfig(["a"], "y", path=str(path)), tmp_path / "cache", grow)
    assert str(error.value) == f"{path} changed while it was being read. Train again once it is complete."
