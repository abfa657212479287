"""`harness.train` in a process that is not the harness's own, such as a notebook's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import asyncio, gc, json, logging, os, signal, sys, threading, warnings
import harness
from harness.errors import ConfigError

logging.basicConfig(filename="own.log", filemode="w")
warnings.filterwarnings("ignore", "mine")
signal.signal(signal.SIGTERM, lambda *_: None)
gc.set_threshold(600, 9, 8)
os.environ["MINE"] = "1"
WORDS = ["data.rows=300", "epochs=1", "tracking.log_model=none"]


def state():
    return {
        "environment": dict(os.environ),
        "arguments": sys.argv[:],
        "path": sys.path[:],
        "collector": (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()),
        "warnings": warnings.filters[:],
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "logging": (logging.root.handlers[:], logging.root.level, logging.getLogRecordFactory()),
        "folder": os.getcwd(),
    }


def refused(*words):
    try:
        harness.train(list(words))
    except ConfigError as error:
        return str(error)


async def in_a_loop():
    return harness.train([*WORDS, "-m", "chunksize=full,50"])


before = state()
sweep = asyncio.run(in_a_loop())
found = []
thread = threading.Thread(target=lambda: found.append(harness.train([*WORDS, "chunksize=20"])))
thread.start()
thread.join()
run = found[0]
said = [refused("epocs=1"), refused("chunksize=0"), refused("--bogus"), refused("--cfg", "job")]
changed = [name for name, value in before.items() if state()[name] != value]
logging.warning("still logging")
loaded = harness.load_sweep(sweep.sweep_id)
import keras
keras.config.set_dtype_policy("mixed_float16")
again = harness.train([*WORDS, "chunksize=20", "runtime.rerun=true"])
settings = [getattr(keras.config, name)() for name in ("floatx", "epsilon", "image_data_format")]
print("\\n" + json.dumps({
    "changed": changed,
    "sweep": sweep.runs["sample"].tolist(),
    "loaded": loaded.runs.equals(sweep.runs) and loaded.curves.equals(sweep.curves),
    "run": [run.sweep_id, run.runs["chunksize"].tolist()],
    "curve": run.curves.query("metric == 'train/loss'")["epoch"].tolist(),
    "said": said,
    "log": open("own.log").read(),
    "keras": [*settings, keras.config.dtype_policy().name],
    "losses": [each.runs["val/loss"].tolist() for each in (run, again)],
}))
"""


KERAS = {"floatx": "float64", "epsilon": 0.001, "image_data_format": "channels_first", "backend": "jax"}


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "keras.json").write_text(json.dumps(KERAS))
    environment = {**os.environ, "KERAS_HOME": str(folder)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_process_is_left_as_it_was(answer: Any) -> None:
    assert answer["changed"] == []
    assert answer["log"] == "WARNING:root:still logging\n"


@pytest.mark.slow
def test_a_sweep_inside_an_event_loop_returns_what_load_sweep_does(answer: Any) -> None:
    assert sorted(answer["sweep"]) == ["batch", "full"]
    assert answer["loaded"]


@pytest.mark.slow
def test_a_single_run_in_a_thread(answer: Any) -> None:
    assert answer["run"] == ["", [20]]
    assert answer["curve"] == [1]


@pytest.mark.slow
def test_refusals_are_config_errors(answer: Any) -> None:
    nothing = "Nothing to train: harness.train takes KEY=VALUE arguments, -m, --trust and --config-dir."
    assert answer["said"][0] == "no such key: epocs. Did you mean epochs?"
    assert answer["said"][1].startswith("chunksize ")
    option = "no such option: --bogus. Write settings in the form KEY=VALUE, such as epochs=5."
    assert answer["said"][2:] == [option, nothing]


def test_a_string_instead_of_a_list_is_refused(tmp_path: Path) -> None:
    code = "import harness; harness.train('epochs=1 seed=2')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "harness.train takes a list of arguments, such as ['epochs=1', 'seed=2']." in done.stderr


@pytest.mark.slow
def test_keras_has_the_users_settings_again_and_results_do_not_depend_on_them(answer: Any) -> None:
    assert answer["keras"] == ["float64", 0.001, "channels_first", "mixed_float16"]
    first, second = answer["losses"]
    assert first == second
