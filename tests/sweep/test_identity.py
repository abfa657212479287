"""What makes two runs the same run, and what does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config import (
    Config,
    DataConfig,
    Device,
    LogModel,
    Loss,
    Missing,
    Precision,
    RuntimeConfig,
    Scaling,
    TrackingConfig,
)
from harness.data.statistics import Column
from harness.data.tables.table import Table
from harness.errors import ConfigError
from harness.runtime.imports import find_target
from harness.runtime.own_modules import own_modules
from harness.sweep.identity import signature, sweep_signature
from tests.tables import table_without_files

MODEL = {"_target_": "harness.models.linear", "init": 0.1}
OWN_MODEL = "def build(inputs):\n    return {value}\n"


def table(digest: str = "0" * 32, folder: str = "here") -> Table:
    columns = tuple(Column(name, False, 8, 0.0, 1.0, -1.0, 1.0) for name in ("a", "b", "y"))
    return table_without_files(columns, 8, 3, folder, digest)


def config(data: dict[str, Any] | None = None, **settings: Any) -> Config:
    defaults: dict[str, Any] = {
        "chunksize": 100,
        "learning_rate": 0.01,
        "epochs": 5,
        "seed": 0,
        "loss": Loss.mse,
        "model": MODEL,
        "optimizer": {"name": "adam", "beta_1": 0.9, "beta_2": 0.999},
    }
    return Config(data=DataConfig(**{"features": ["a", "b"], "target": "y"} | (data or {})), **defaults | settings)


ORIGINAL = signature(config(), table())


def test_a_signature_is_sixteen_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", ORIGINAL)


@pytest.mark.parametrize(
    "other",
    [
        config(tracking=TrackingConfig("sqlite:///other.db", "other", LogModel.none)),
        config(runtime=RuntimeConfig(Device.cpu, lane_tile=16, threads=2, workers=1, cache="elsewhere")),
        config(data={"path": "moved.csv"}),
        config(data={"rows": 21613}),
        config(data={"origin": "a shop"}),
        config(optimizer={"beta_2": 0.999, "beta_1": 0.9, "name": "adam"}),
        config(model={"init": 0.1, "_target_": "harness.models.linear"}),
        config(learning_rate=1e-2),
    ],
    ids=["tracking", "runtime", "path", "rows", "origin", "order of settings", "order of arguments", "spelling"],
)
def test_settings_that_change_no_number_leave_the_signature_alone(other: Config) -> None:
    assert signature(other, table()) == ORIGINAL


def test_the_tables_folder_does_not_change_the_signature() -> None:
    assert signature(config(), table(folder="elsewhere")) == ORIGINAL


CHANGED = [
    config(chunksize=101),
    config(chunksize="full"),
    config(learning_rate=0.02),
    config(epochs=6),
    config(seed=1),
    config(loss=Loss.mae),
    config(data={"features": ["b", "a"]}),
    config(data={"features": ["a"]}),
    config(data={"target": "z"}),
    config(data={"log_columns": ["y"]}),
    config(data={"scaling": Scaling.none}),
    config(data={"holdout": 0.3}),
    config(data={"split_seed": 1}),
    config(data={"missing": Missing.drop}),
    config(model=MODEL | {"init": 0.2}),
    config(model={"_target_": "harness.models.mlp"}),
    config(optimizer={"name": "adam", "beta_1": 0.9, "beta_2": 0.99}),
    config(optimizer={"name": "adamw", "beta_1": 0.9, "beta_2": 0.999}),
    config(runtime=RuntimeConfig(precision=Precision.mixed_bfloat16)),
    config(runtime=RuntimeConfig(precision=Precision.mixed_float16)),
]


def test_settings_that_change_numbers_change_the_signature() -> None:
    signatures = [ORIGINAL, signature(config(), table("1" * 32)), *(signature(other, table()) for other in CHANGED)]
    assert len(set(signatures)) == 2 + len(CHANGED)


@pytest.mark.parametrize(("one", "other"), [(None, "full")])
def test_two_ways_to_write_the_full_sample_have_one_signature(one: None, other: str) -> None:
    assert signature(config(chunksize=one), table()) == signature(config(chunksize=other), table())


def test_the_order_of_log_columns_does_not_matter() -> None:
    orders = (["a", "y"], ["y", "a"])
    assert len({signature(config(data={"log_columns": order}), table()) for order in orders}) == 1


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a user's module and return the signature of a run with its function."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        sys.modules.pop("own_model", None)
        # The new source may have the old one's length and modification time.
        sys.path_importer_cache.clear()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        (tmp_path / "own_model.py").write_text(source)
        return signature(config(model={"_target_": "own_model.build"}), table())

    yield write
    sys.modules.pop("own_model", None)


def test_the_source_of_a_users_model_changes_the_signature(own_model: Callable[[str], str]) -> None:
    first = own_model(OWN_MODEL.format(value="1"))
    assert own_model(OWN_MODEL.format(value="12345")) != first
    assert own_model(OWN_MODEL.format(value="1")) == first


PACKAGE = {
    "own/__init__.py": "from own.setup import *\n",
    "own/setup/__init__.py": "",
    "own/setup/starred.py": "",
    "own/model.py": "import numpy, json, keras\nfrom . import helper\nfrom .. import nothing\n",
    "own/helper.py": "import own_far.deep.lazily\nfrom .sub import other as renamed\n",
    "own/sub/other.py": "def f():\n    from own_late import late\n",
    "own/unrelated.py": "",
    "own_far/deep/lazily.py": "import importlib\ndef f():\n    importlib.import_module('.named', __package__)\n",
    "own_far/deep/named.py": "",
    "own_far/deep/unrelated.py": "",
    "own_late/__init__.py": "from . import early\n",
    "own_late/early.py": "import own.model\n",
    "own_late/late.py": "raise RuntimeError\n",
    "data.csv": "x,y\n",
}


def test_so_does_every_module_that_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are found in packages, relative imports, functions and by name; none of them is run."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, source in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    found = own_modules("own.model")
    expected = [name for name in PACKAGE if "unrelated" not in name and name.endswith(".py")]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found.values()) == sorted(expected)

    def signed() -> str:
        return signature(config(model={"_target_": "own.model.build"}), table())

    first = signed()
    for name, source in PACKAGE.items():
        (tmp_path / name).write_text(f"{source}\n#")
        assert (signed() != first) == (name in expected)
        (tmp_path / name).write_text(source)
        assert signed() == first


@pytest.mark.slow
def test_the_signature_is_the_same_in_every_process() -> None:
    """Python's string hashes and set order differ between these seeds."""
    code = "from tests.sweep.test_identity import ORIGINAL; print(ORIGINAL)"
    answers = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert answers == [ORIGINAL, ORIGINAL]


def test_a_sweeps_signature_covers_the_set_of_its_runs() -> None:
    assert sweep_signature(["a", "b"]) == sweep_signature(["b", "a", "b"])
    assert len({sweep_signature(runs) for runs in ([], ["a"], ["b"], ["a", "b"], ["ab"])}) == 5


def test_a_target_is_found() -> None:
    assert find_target("os.path.join") is os.path.join


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.build", "ModuleNotFoundError: No module named 'nowhere'"),
        ("os.path.nothing", "AttributeError: module 'posixpath' has no attribute 'nothing'"),
        ("build", "ValueError: Empty module name"),
        ("", "ValueError: Empty module name"),
        (".build", "ValueError: Empty module name"),
    ],
)
def test_a_missing_target_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        find_target(name)
    assert str(refusal.value) == (
        f"model._target_: cannot import {name!r} ({reason}). Give the dotted name of a function."
    )


def test_a_target_that_is_not_a_function_is_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("model._target_: os.sep is not a function.")):
        find_target("os.sep")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def build(inputs)\n    return 1\n", "SyntaxError: expected ':' (own_model.py, line 1)"),
        ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere' (own_model.py, line 1)"),
        ("\nraise RuntimeError('two\\nlines')\n", "RuntimeError: two lines (own_model.py, line 2)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(
    own_model: Callable[[str], str], source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_model(source)
    with pytest.raises(ConfigError) as refusal:
        find_target("own_model.build")
    assert str(refusal.value) == (
        f"model._target_: cannot import 'own_model.build' ({reason}). Give the dotted name of a function."
    )
