"""A logged model is loaded and served by a Python with this environment's packages, but without the harness."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from harness.tracking.model_saver import ModelSaver, RawModel

LOAD = """
import importlib.util, sys, mlflow, pandas as pd
assert importlib.util.find_spec("harness") is None
model = mlflow.pyfunc.load_model(sys.argv[1])
print(model.predict(pd.DataFrame({"city": ["Ulm", "x"], "day": ["02.01.1970", "03.01.1970"]}))["y"].tolist())
"""


@pytest.mark.slow
def test_a_python_without_harness_loads_and_serves_a_model(tmp_path: Path) -> None:
    inputs = {"city": keras.Input((1,), name="city", dtype="string"), "day": keras.Input((1,), name="day")}
    names = keras.layers.StringLookup(vocabulary=["Ulm"])(inputs["city"])
    total = keras.layers.Add()([100.0 * keras.ops.cast(names, "float32"), inputs["day"]])
    example = {"city": np.array(["Ulm"]), "day": np.array(["02.01.1970"])}
    raw = RawModel(keras.Model(inputs, total), example, ["y"], {"day": "%d.%m.%Y"})
    ModelSaver().save(tmp_path / "model", raw)
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    packages = next((tmp_path / "bare" / "lib").glob("python*/site-packages"))
    # Only the folder itself is on the path: a `.pth` file in it, which may install the harness, is not read.
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib"))
    python, environment = tmp_path / "bare/bin/python", {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONPATH", None)
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment}
    options |= {"timeout": 180, "capture_output": True, "text": True}
    loaded = subprocess.run([python, "-c", LOAD, "model"], **options)
    assert loaded.stdout == "[101.0, 2.0]\n", loaded.stderr
    expected = {"predictions": [{"y": 101.0}, {"y": 2.0}]}
    environment["PATH"] = f"{python.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    (tmp_path / "rows.csv").write_text("day,city,other\n02.01.1970,Ulm,1\n03.01.1970,x,2\n")
    words = ["mlflow", "models", "predict", "-m", "model", "--env-manager", "local", "-i", "rows.csv", "-t", "csv"]
    predicted = subprocess.run([python, "-m", *words], **options)
    assert json.loads(predicted.stdout.splitlines()[-1]) == expected, predicted.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["mlflow", "models", "serve", "-m", "model", "--env-manager", "local", "--host", "127.0.0.1"]
    server = subprocess.Popen(
        [python, "-m", *words, "--port", str(port)], start_new_session=True, cwd=tmp_path, env=environment
    )
    try:
        rows = {"dataframe_records": [{"city": "Ulm", "day": "02.01.1970"}, {"city": "x", "day": "03.01.1970"}]}
        assert answer(f"http://127.0.0.1:{port}/invocations", rows) == expected
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def answer(url: str, content: object) -> object:
    """Return the answer to a request, as soon as the server is up."""
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
