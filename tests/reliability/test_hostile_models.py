"""Other people's logged models: loading them for `harness predict` runs no code and reads no other file."""

from __future__ import annotations

import json
import marshal
import zipfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import pytest

from harness.cli.predict import load
from harness.errors import ConfigError

SECRET = "5ecret-5esame"
Layer = dict[str, Any]


def layer(module: str | None, name: str, registered: str | None = None, **config: Any) -> Callable[[Path], Layer]:
    return lambda canary: {
        "module": module,
        "class_name": name,
        "config": {"name": "hostile", "dtype": "float32", **config},
        "registered_name": registered,
    }


def code_of(canary: Path) -> str:
    code = compile(f"lambda x: open({str(canary)!r}, 'w').write('ran') and x", "hostile", "eval")
    return b64encode(marshal.dumps(code)).decode()


def lambda_layer(canary: Path) -> Layer:
    function = {"class_name": "__lambda__", "config": {"code": code_of(canary), "defaults": None, "closure": None}}
    return layer("keras.layers", "Lambda", function=function)(canary)


def function_of(module: str, name: str) -> Layer:
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def reads(canary: Path) -> Layer:
    """A layer that would read its vocabulary from a file."""
    return layer("keras.layers", "StringLookup", vocabulary=str(canary.with_name("secret.txt")), mask_token=None)(
        canary
    )


def runs(canary: Path) -> Layer:
    inner = {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", str(canary)]}}
    return layer("keras.layers", "TimeDistributed", layer=inner)(canary)


LAYERS: dict[str, Callable[[Path], Layer]] = {
    "lambda": lambda_layer,
    "system": layer("os", "system", command="touch"),
    "popen": layer("subprocess", "Popen", args=["touch"]),
    "popen in a wrapper": runs,
    "function of os": layer("keras.layers", "Dense", units=1, activation=function_of("os", "system")),
    "function of builtins": layer("keras.layers", "Dense", units=1, kernel_initializer=function_of("builtins", "exec")),
    "download": layer("keras.utils", "get_file", fname="x", origin="file:///etc/passwd"),
    "load": layer("keras.models", "load_model", filepath="x"),
    "registered": layer(None, "system", registered="os>system"),
    "module of the harness": layer("harness.sweep.code_version", "patches", targets=["x"]),
    "saved model": layer("keras.layers", "TFSMLayer", filepath="saved", call_endpoint="serve"),
    "vocabulary file": reads,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "model.keras"
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="hostile")]).save(path)
    return path


def rewritten(good: Path, path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Copy a model, with changed members of its archive."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "canary"


@pytest.mark.parametrize("name", LAYERS)
def test_a_hostile_layer_is_refused(good: Path, canary: Path, name: str) -> None:
    def change(member: str, content: bytes) -> bytes:
        if member != "config.json":
            return content
        config = json.loads(content)
        config["config"]["layers"][1] = LAYERS[name](canary)
        return json.dumps(config).encode()

    with pytest.raises(ConfigError, match=r"^The run's model cannot be loaded safely: ") as refusal:
        load(rewritten(good, canary.with_name("model.keras"), change))
    assert SECRET not in str(refusal.value)
    assert sorted(path.name for path in canary.parent.iterdir()) == ["here", "model.keras", "secret.txt"]
    assert list((canary.parent / "here").iterdir()) == []


def test_weights_in_another_file_are_not_read(good: Path, canary: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["secret"] = [[0.5]]

    def change(member: str, content: bytes) -> bytes:
        if not member.endswith(".h5"):
            return content
        path = tmp_path / "here" / "weights.h5"
        path.write_bytes(content)
        with h5py.File(path, "a") as file:
            places: list[str] = []
            file.visit(lambda name: places.append(name) if isinstance(file[name], h5py.Dataset) else None)
            place = next(name for name in places if file[name].shape == (1, 1))
            del file[place]
            file[place] = h5py.ExternalLink(str(outside), "/secret")
        return path.read_bytes()

    with pytest.raises(ConfigError, match="cannot be loaded safely"):
        load(rewritten(good, tmp_path / "model.keras", change))


@pytest.mark.filterwarnings("ignore:Skipping invalid path")
def test_members_with_other_paths_are_not_unpacked(good: Path, canary: Path, tmp_path: Path) -> None:
    path = rewritten(good, tmp_path / "model.keras", lambda name, content: content)
    with zipfile.ZipFile(path, "a") as file:
        for name in ("../../canary", str(canary), "here/../../canary"):
            file.writestr(name, "written")
    load(path)
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"\x89HDF\r\n\x1a\n"])
def test_anything_but_a_model_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be loaded safely"):
        load(path)
