"""No secret gets through the mask, and little else is masked."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import harness
from harness.cli.job_files import MaskingFormatter, hide_passwords
from harness.errors import ConfigError
from harness.escaping import csv_cell, markdown_code
from harness.runtime import secrets
from harness.runtime.secret_names import is_secret_file
from harness.runtime.secrets import masked, masked_patch, masked_value, remember, shown
from harness.tracking.store_errors import reason
from harness.tracking.uri import tracking_uri

CANARY = "CAN4RYcanary99"


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    secrets.forget()
    yield
    secrets.forget()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:§@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mysql+pymysql://me:s3/§@host/db", "mysql+pymysql://me:***@host/db"),
        ("https://me:§@ret@host/path", "https://me:***@host/path"),
        ("https://me:a#b?§@host/x", "https://me:***@host/x"),
        ("https://me:1234/§@host/x", "https://me:***@host/x"),
        ("https://me:it's\"§@host/x", "https://me:***@host/x"),
        ("https://§@host/path", "https://***@host/path"),
        ("https://§:x-oauth-basic@host", "https://***:***@host"),
        ("http:/me:§@host/x.csv", "http:/me:***@host/x.csv"),
        ("+https://me:§@host", "+https://me:***@host"),
        (
            "data.path=[https://u:§@h/a,https://u:§@h/b?token=§]",
            "data.path=[https://u:***@h/a,https://u:***@h/b?token=***]",
        ),
        ("from https://u:§@h/a to postgresql://u:§@h/b.", "from https://u:***@h/a to postgresql://u:***@h/b."),
        ("https://h/x?access_token=§&x=1", "https://h/x?access_token=***&x=1"),
        ("https://h/x?access%5Ftoken=§&x=1", "https://h/x?access%5Ftoken=***&x=1"),
        ("https://h/x?API_KEY=§. Set it.", "https://h/x?API_KEY=***. Set it."),
        (
            "https://h/?sig=§&X-Amz-Credential=§%2F2026&x-amz-security-token=§",
            "https://h/?sig=***&X-Amz-Credential=***&x-amz-security-token=***",
        ),
        ("https://h/?to=https%3A%2F%2Fu%3A§%40h%2F", "https://h/?to=https%3A%2F%2F***%40h%2F"),
        (
            "client_secret=§ passwd=§ PASSWORD='§ §' +model.apiKey=§",
            "client_secret=*** passwd=*** PASSWORD=*** +model.apiKey=***",
        ),
        ("Server=h;PWD={§;§}", "Server=h;PWD=***"),
        ('{"password": "§", "n": 1}', '{"password": "***", "n": 1}'),
        ("api_key: §\nx: 1", "api_key: ***\nx: 1"),
        ("Authorization: Bearer §", "Authorization: Bearer ***"),
        ("id AKIAIOSFODNN7EXAMPLE, key", "id ***, key"),
        ("-----BEGIN RSA PRIVATE KEY-----\n§\n-----END RSA PRIVATE KEY-----\n", "-----***-----\n"),
    ],
)
def test_secrets_are_masked(text: str, shown: str) -> None:
    assert masked(text.replace("§", CANARY)) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/a@b",
        "https://files.example.com:8443/pkg@1.2/f.csv",
        "https://unpkg.com/pkg@1/f.csv",
        "postgresql://me@host/db",
        "s3://bucket/key=1/part@2.csv",
        "sqlite:////home/me/mlflow.db",
        "http://[::1]:5000/a@b",
        "data.features=[a:b,c@d,key,password,token] data.target=passwords_count",
        "max_tokens=100 token=3 pad_token=x api_key=null key=value",
        "signature: 3f1c, which covers the source",
        "val/loss 0.1 after 4 updates: val/best/loss=0.1",
        "tags.signature = 'abc'",
    ],
)
def test_other_text_is_not(text: str) -> None:
    assert masked(text) == text


def test_a_param_is_masked_by_its_name() -> None:
    assert masked_value("model.api_key", CANARY) == "***"
    assert masked_value("signature", "3f1c") == "3f1c"
    assert masked_value("data.path", f"https://me:{CANARY}@h/x") == "https://me:***@h/x"


def test_code_in_a_patch_still_applies() -> None:
    header = "diff --git a/{0} b/{0}\n+++ b/{0}\n"
    code = f'+call(token=token, password="{CANARY}")\n+KEY = "AKIAIOSFODNN7EXAMPLE"\n'
    other = f"+PASSWORD={CANARY}\n"
    patch = header.format("a.py") + code + header.format("settings.ini") + other
    assert (
        masked_patch(patch)
        == (
            header.format("a.py") + '+call(token=token, password="***")\n+KEY = "***"\n' + header.format("settings.ini")
        )
        + "+PASSWORD=***\n"
    )


def test_parts_of_a_remembered_address_are_masked() -> None:
    remember(f"tracking.uri=https://me:p@55 {CANARY}/7th@host/x")
    for part in (f"port {CANARY!r}", f"host '55 {CANARY}'", f"p%4055%20{CANARY}%2F7th"):
        assert CANARY not in masked(f"Invalid URL: {part}")
    assert masked("https://host/x of me") == "https://host/x of me"


@pytest.mark.parametrize("password", ["linear", "postgres", "12345", "me"])
def test_common_words_are_not_masked_everywhere(password: str) -> None:
    remember(f"postgresql://postgres:{password}@host/db")
    text = f"harness.models.{password} has {password} rows"
    assert masked(text) == text


def test_the_password_of_the_store_in_the_environment_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://me:{CANARY}@host/db")
    tracking_uri()
    assert masked(f"login with {CANARY}") == "login with ***"


def test_training_in_a_notebook_remembers_the_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)
    with pytest.raises(ConfigError):
        harness.train(["no_such_key=1"])
    assert masked(f"login with {CANARY}") == "login with ***"


def test_folders_in_the_environment_are_not_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "my-project"
    folder.mkdir()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{folder}/sa.json")
    monkeypatch.setenv("TOOL_PWD", str(folder))
    remember(f"+gcs.credentials={folder}/sa.json")
    monkeypatch.setenv("DB_PASSWORD", "/Kx3-q/my-schema")
    secrets.remember_environment()
    assert secrets.masked(f"data.path={folder}/kc/x.csv") == f"data.path={folder}/kc/x.csv"
    assert secrets.masked("said /Kx3-q/my-schema, my-schema") == "said ***, my-schema"


def test_secrets_of_the_environment_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", CANARY)
    monkeypatch.setenv("PWD", "/home/someone")
    secrets.remember_environment()
    assert masked(f"login with {CANARY} in /home/someone") == "login with *** in /home/someone"


@pytest.mark.parametrize(
    ("path", "is_secret"),
    [
        *((name, True) for name in (".env", "a/.env.local", "prod.env", "x.PEM", "id_rsa", "id_ed25519.pub", "a.key")),
        *(
            (name, True)
            for name in (
                "credentials",
                ".aws/config",
                ".netrc",
                ".pgpass",
                "conf/secrets.yaml",
                "secrets/a",
                "token.txt",
                "credentials.json",
            )
        ),
        *((name, False) for name in ("secrets.py", "token.py", "credentials.py")),
        *((name, False) for name in ("environment.py", "tokenizer.py", "keys.py", "id_map.csv", "monkey.py", "a/b.py")),
    ],
)
def test_files_of_secrets_are_known_by_name(path: str, is_secret: bool) -> None:
    assert is_secret_file(path) is is_secret


@pytest.mark.parametrize(
    "piece", ["a-", "a=", "https://a:", "x: ", "'password': '", "://u:", "%3A%2F%2F%3A", "[,=(", "-"]
)
def test_long_text_takes_linear_time(piece: str) -> None:
    masked(piece * (200_000 // len(piece)))


# Addresses, built from parts. In a query, & ends a value; a password in front of a host may contain all but spaces.
_SYMBOLS = "/@:#?&=%+;,!$*()[]{}|~^'\"\\<>-_."
words = st.text("abcXYZ019" + _SYMBOLS, max_size=8)
login = st.builds(lambda a, b: f"{a}{CANARY}{b}", st.text("ab" + _SYMBOLS, max_size=8), words)
value = st.builds(
    lambda a, b: f"{a}{CANARY}{b}", st.text("ab/@:?%+!$*~^-_.", max_size=6), st.text("ab/@:?%+-_.", max_size=6)
)
host = st.sampled_from(["host", "data.example.com", "127.0.0.1:5000", "h:80"])
NAMES = """access_token api_key client_secret passwd PASSWORD sig signature X-Amz-Signature x-amz-credential TOKEN
auth%5Ftoken %70assword AWSAccessKeyId apikey"""
names = st.sampled_from(NAMES.split())
path = st.sampled_from(["", "/", "/x.csv", "/a/b/x.csv"])
with_login = st.builds(
    lambda scheme, user, secret, host, path: f"{scheme}://{user}:{secret}@{host}{path}",
    st.sampled_from(["https", "http", "postgresql", "mysql+pymysql", "ftp", "HTTPS"]),
    st.sampled_from(["me", "", "first.last", "me%40x"]),
    login,
    host,
    path,
)
token = value.filter(lambda text: not set(text) & set("/?:@"))
with_token = st.builds(lambda token, host, path: f"https://{token}@{host}{path}", token, host, path)
with_query = st.builds(
    lambda host, path, before, name, value, after: f"https://{host}{path}?{before}{name}={value}{after}",
    host,
    path,
    st.sampled_from(["", "x=1&", "a=b&c=d&"]),
    names,
    value,
    st.sampled_from(["", "&x=1", "#top"]),
)
address = st.one_of(with_login, with_token, with_query)


def in_job_files(text: str, tmp_path: Path) -> str:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"data": {"path": text}, "words": [f"data.path={text}"]}, allow_unicode=True))
    hide_passwords(tmp_path, ["config.yaml"])
    assert yaml.safe_load(file.read_text())["data"].keys() == {"path"}
    return file.read_text()


def in_log(text: str, tmp_path: Path) -> str:
    try:
        raise ValueError(f"cannot open {text}")
    except ValueError as error:
        fault = (ValueError, error, error.__traceback__)
    return MaskingFormatter().format(logging.LogRecord("a", 20, "b", 1, "at %s", (text,), fault))


ways: dict[str, Callable[[str, Path], str]] = {
    "message": lambda text, _: shown(f"data.path: no such file: {text}. Check it."),
    "list": lambda text, _: masked(f"data.path=[{text},{text}]"),
    "command": lambda text, _: markdown_code(masked(shlex.join(["harness", "train", f"data.path='{text}'", "seed=1"]))),
    "repr": lambda text, _: masked(repr({"path": text, "n": 1})),
    "cell": lambda text, _: str(csv_cell(masked(text))),
    "param": lambda text, _: masked_value("data.path", text),
    "cause": lambda text, _: reason(ValueError(f"no {text}")),
    "patch": lambda text, _: masked_patch(f"diff --git a/a.yaml b/a.yaml\n+path: {text}\n-{text}\n"),
    "job files": in_job_files,
    "log": in_log,
}


@pytest.mark.parametrize("way", ways)
@settings(max_examples=100, deadline=None)
@given(text=address)
@example(text="https://h:80?access_token=//@" + CANARY)  # The secret found in one way overlaps one found in another.
def test_no_address_leaks_its_secret(way: str, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    secrets.forget()
    remember(text)
    assert CANARY not in ways[way](text, tmp_path_factory.getbasetemp())


@settings(max_examples=400, deadline=None)
@given(text=address)
def test_an_unknown_address_leaks_no_secret_either(text: str) -> None:
    secrets.forget()
    assert CANARY not in masked(f"cannot open {text} (refused)")
