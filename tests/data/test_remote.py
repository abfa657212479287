"""Remote files give the same table as local ones and are read again when they change; errors are one sentence."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from harness.config import DataConfig
from harness.data.tables.builder import open_table
from harness.data.tables.manifest import read_manifest
from harness.data.tables.table import Table
from harness.errors import ConfigError

WHOLE = "a,text,y\n" + "".join(f"{row},u,{row * row}\n" for row in range(100))


def make(path: object, cache: Path, **options: Any) -> Table:
    return open_table(DataConfig(["a"], "y", path=path, holdout=0.3, **options), cache)


def refusal(path: object, cache: Path) -> str:
    with pytest.raises(ConfigError) as error:
        make(path, cache)
    return str(error.value)


def parquet(folder: Path, count: int = 100) -> bytes:
    path = folder / "whole.parquet"
    numbers = range(count)
    pq.write_table(
        pa.table({"y": [row * row for row in numbers], "a": list(numbers)}), path, row_group_size=max(30, count // 2)
    )
    return path.read_bytes()


@pytest.fixture
def whole(write: Callable[..., Path], tmp_path: Path) -> Table:
    """Create the table of `WHOLE` from a local file."""
    return make(str(write(WHOLE, "whole.csv")), tmp_path / "local")


# S3.


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    values = {
        "ACCESS_KEY_ID": "id",
        "SECRET_ACCESS_KEY": "key",
        "DEFAULT_REGION": "us-east-1",
        "ENDPOINT_URL": endpoint,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="houses")

    def put(name: str, content: str | bytes) -> str:
        client.put_object(Bucket="houses", Key=name, Body=content if isinstance(content, bytes) else content.encode())
        return f"s3://houses/{name}"

    yield put
    for item in client.list_objects_v2(Bucket="houses").get("Contents", []):
        client.delete_object(Bucket="houses", Key=item["Key"])
    client.delete_bucket(Bucket="houses")
    client.close()


def test_s3_makes_the_same_table(bucket, tmp_path: Path, whole: Table) -> None:
    address = bucket("folder/whole.csv", WHOLE)
    found = make(address, tmp_path / "cache")
    assert (found.digest, found.address, found.name) == (whole.digest, address, "whole.csv")
    assert make(bucket("whole.csv.gz", gzip.compress(WHOLE.encode())), tmp_path / "cache").digest == whole.digest
    assert make(bucket("whole.parquet", parquet(tmp_path)), tmp_path / "cache").digest == whole.digest


def test_s3_patterns_and_lists(bucket, tmp_path: Path, whole: Table) -> None:
    header, *body = WHOLE.splitlines(keepends=True)
    pieces = [bucket(f"part-{i}.csv", "".join([header, *body[i * 50 : i * 50 + 50]])) for i in range(2)]
    bucket("other.csv", "b\n1\n")
    assert make("s3://houses/part-*.csv", tmp_path / "cache").digest == whole.digest
    assert make(pieces, tmp_path / "cache").digest == whole.digest
    local = tmp_path / "part-1.csv"
    local.write_text("".join([header, *body[50:]]))
    assert make([pieces[0], str(local)], tmp_path / "cache").digest == whole.digest
    bucket("part-2.csv", header + "1,u,2\n")
    assert make("s3://houses/part-*.csv", tmp_path / "cache").digest != whole.digest
    assert refusal("s3://houses/none-*.csv", tmp_path) == "data.path: no file matches s3://houses/none-*.csv."


def test_a_changed_object_is_read_again(bucket, tmp_path: Path) -> None:
    address, steps = bucket("file.csv", WHOLE), []
    data = DataConfig(["a"], "y", path=address, holdout=0.3)
    before = open_table(data, tmp_path, steps.append)
    assert open_table(data, tmp_path, steps.append) == before
    assert len(steps) == 1
    bucket("file.csv", WHOLE.replace("\n7,u,49\n", "\n7,u,48\n"))
    assert open_table(data, tmp_path).digest != before.digest


def test_s3_failures(bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal("s3://houses/none.csv", tmp_path) == "data.path: no such file: s3://houses/none.csv"
    assert refusal("s3://no-such-bucket/a.csv", tmp_path) == "data.path: no such file: s3://no-such-bucket/a.csv"
    bucket("folder/a.csv", WHOLE)
    assert refusal("s3://houses/folder", tmp_path) == "data.path: s3://houses/folder is a folder, not a file."
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert refusal("s3://houses/file.csv", tmp_path) == (
        "data.path: s3://houses/file.csv is unreachable; check the address and the network."
    )
    s3fs.S3FileSystem.clear_instance_cache()


CLIENT_IS_MISSING = """
import sys
sys.modules[sys.argv[2]] = None
from harness.data.storage.addresses import find_addresses
from harness.data.storage.files import open_file

for find in (open_file, find_addresses):
    try:
        find(sys.argv[1])
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize(("scheme", "module", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")])
def test_a_missing_client_is_named(scheme: str, module: str, extra: str) -> None:
    command = [sys.executable, "-c", CLIENT_IS_MISSING, f"{scheme}://bucket/*.csv", module]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"data.path: reading {scheme}:// needs pip install 'harness[{extra}]'\n" * 2


@pytest.mark.parametrize("address", ["ftp://host/a.csv", "hdfs://host/a.csv"])
def test_other_schemes_are_refused(tmp_path: Path, address: str) -> None:
    scheme = address.partition("://")[0]
    assert refusal(address, tmp_path) == (
        f"data.path: {scheme}:// is not supported; use a path, s3://, gs://, https:// or http://."
    )


# HTTP.


class Server(ThreadingHTTPServer):
    """Serves `files`; with `tags`, it sends ETags; with `ranges`, it supports range requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.status: dict[str, int] = {}
        self.tags = self.ranges = self.lengths = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        content = self.server.files.get(path, b"")
        status = self.server.status.get(path, 200 if path in self.server.files else 404)
        if status != 200:
            self.send_error(status)
            return
        total, part = len(content), self.headers.get("Range")
        if part and self.server.ranges:
            first, last = part.removeprefix("bytes=").split("-")
            content = content[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{total}")
        else:
            self.send_response(200)
        if self.server.tags:
            self.send_header("ETag", f'"{hash(self.server.files[path])}"')
        if self.server.lengths:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def http() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Server, name: str, content: str | bytes | None = None) -> str:
    if content is not None:
        server.files[f"/{name}"] = content if isinstance(content, bytes) else content.encode()
    return f"http://127.0.0.1:{server.server_port}/{name}"


@pytest.mark.parametrize(
    ("ranges", "lengths"), [(True, True), (False, True), (False, False)], ids=["ranges", "whole", "of unknown length"]
)
def test_http_makes_the_same_table(http: Server, tmp_path: Path, whole: Table, ranges: bool, lengths: bool) -> None:
    http.ranges, http.lengths = ranges, lengths
    address = url(http, "whole.csv", WHOLE)
    found = make(address, tmp_path / "cache")
    assert (found.digest, found.address, found.name) == (whole.digest, address, "whole.csv")
    content, steps = gzip.compress(WHOLE.encode()), []
    data = DataConfig(["a"], "y", path=url(http, "whole.csv.gz", content), holdout=0.3)
    assert open_table(data, tmp_path / "cache", steps.append).digest == whole.digest
    assert (steps[-1].bytes, steps[-1].total) == (len(content), len(content) if lengths else 0)


def test_parquet_needs_ranges(http: Server, tmp_path: Path, whole: Table) -> None:
    address = url(http, "whole.parquet", parquet(tmp_path))
    assert make(address, tmp_path / "cache").digest == whole.digest
    http.ranges = False
    address = url(http, "long.parquet", parquet(tmp_path, 100_000))
    assert refusal(address, tmp_path / "other") == (
        f"data.path: the server of {address} does not support range requests, which this format needs; "
        "download the file first."
    )


def test_a_file_of_several_requests(http: Server, tmp_path: Path) -> None:
    content = "a,y\n" + "123456789,987654321\n" * 900_000
    path = tmp_path / "file.csv"
    path.write_text(content)
    assert make(url(http, "file.csv", content), tmp_path / "cache").digest == make(str(path), tmp_path / "cache").digest


def test_a_change_is_noticed_by_the_etag(http: Server, tmp_path: Path) -> None:
    address, steps = url(http, "file.csv", WHOLE), []
    data = DataConfig(["a"], "y", path=address, holdout=0.3)
    before = open_table(data, tmp_path, steps.append)
    assert open_table(data, tmp_path, steps.append) == before
    assert len(steps) == 1
    url(http, "file.csv", WHOLE.replace("\n7,u,49\n", "\n7,u,48\n"))
    assert open_table(data, tmp_path).digest != before.digest


def test_a_file_that_changes_while_it_is_read_is_refused(http: Server, tmp_path: Path) -> None:
    address = url(http, "file.csv", WHOLE)
    data = DataConfig(["a"], "y", path=address)
    with pytest.raises(ConfigError) as error:
        open_table(data, tmp_path, lambda state: url(http, "file.csv", WHOLE + "1,u,1\n") and None)
    assert str(error.value) == f"{address} changed while it was being read. Train again once it is complete."


def test_http_failures(http: Server, tmp_path: Path) -> None:
    address = url(http, "none.csv")
    assert refusal(address, tmp_path) == f"data.path: no such file: {address}"
    for status in (401, 403):
        http.status["/none.csv"] = status
        assert refusal(address, tmp_path) == f"data.path: access to {address} was denied; check your credentials."
    http.status["/none.csv"] = 500
    assert refusal(address, tmp_path) == f"data.path: cannot read {address}: HTTP status 500"
    nobody = "http://127.0.0.1:1/a.csv"
    assert refusal(nobody, tmp_path) == f"data.path: {nobody} is unreachable; check the address and the network."
    pattern = url(http, "*.csv")
    assert refusal(pattern, tmp_path) == (
        f"data.path: HTTP servers cannot list the files of {pattern}; give their URLs."
    )


def test_a_signed_address_is_masked(http: Server, tmp_path: Path) -> None:
    address = url(http, "whole.csv", WHOLE)
    found = make(f"{address}?X-Amz-Date=1&X-Amz-Signature=secret&X-Amz-Security-Token=secret&sig=secret", tmp_path)
    assert found.address == f"{address}?X-Amz-Date=1&X-Amz-Signature=***&X-Amz-Security-Token=***&sig=***"
    assert "secret" not in (found.folder / "table.json").read_text()


def test_credentials_are_masked_and_do_not_matter(http: Server, tmp_path: Path, whole: Table) -> None:
    address = url(http, "whole.csv", WHOLE)
    with_secret = address.replace("//", "//user:secret-1@") + "?token=secret-2"
    found = make(with_secret, tmp_path / "cache")
    assert found.digest == whole.digest
    assert found.address == address.replace("//", "//user:***@") + "?token=***"
    assert found.name == "whole.csv"
    manifest = (found.folder / "table.json").read_text()
    assert "secret" not in manifest
    assert read_manifest(found.folder).data.path == found.address
    assert make(with_secret.replace("secret", "other"), tmp_path / "cache") == found
    assert refusal(with_secret.replace("whole", "none"), tmp_path) == (
        f"data.path: no such file: {found.address.replace('whole', 'none')}"
    )
