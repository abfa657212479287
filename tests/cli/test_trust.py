"""Other people's configurations do no harm: which code they may run, and which secrets stay out of files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from mlflow.tracking import MlflowClient

from harness.cli.predict import load
from harness.cli.trust import check_functions, check_packages
from harness.errors import ConfigError
from harness.tracking import ui
from harness.tracking.store import open_store
from tests.servers import Server, running

MODEL = "model._target_"
PASSWORD = "5ecret-5esame"
COMMAND = Path(sys.executable).with_name("harness")
CSV = "x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(13))
DATA = ["data=csv", "data.path=small.csv", "data.features=[x]", "data.target=y", "runtime.workers=1", "epochs=1"]


@pytest.mark.parametrize("name", ["os.system", "stranger.build", "harness_.build", "", ".build", "kerasx.build"])
def test_other_packages_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not in harness, keras or experiments") as refusal:
        check_packages([(MODEL, "harness.models.linear"), (MODEL, name)])
    assert str(refusal.value).startswith(f"model._target_: {name} is not in")
    assert str(refusal.value).endswith("Add --trust if you trust this function.")


@pytest.mark.parametrize(
    "name", ["harness.models.linear", "harness.models.mlp", "experiments.house_prices.build_model"]
)
def test_functions_that_build_models_are_accepted(name: str) -> None:
    check_packages([(MODEL, name)])
    check_functions([(MODEL, name)])


@pytest.mark.parametrize(
    "name",
    [
        "keras.utils.get_file",  # It writes to any path.
        "keras.models.load_model",  # It can run the code that it loads.
        "keras.layers.Lambda",
        "experiments.benchmark.peers.memory.train_from_pipe",  # It runs a program, and takes a number.
        "harness.cli.predict.load",
        "harness.sweep.code_version.patches",
        "harness.sweep.executor.find_target",
    ],
)
def test_other_functions_of_the_known_packages_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="its first argument is not `inputs`"):
        check_functions([(MODEL, name)])


def test_only_frozen_models_come_from_keras_applications() -> None:
    for name in ("MobileNetV2", "ResNet50"):  # The shape is the first argument of only one of them.
        check_functions([("data.embed._target_", f"keras.applications.{name}")])
    for key, name in ((MODEL, "MobileNetV2"), ("data.embed._target_", "imagenet_utils.decode_predictions")):
        with pytest.raises(ConfigError, match=f"^{key}: .* does not build a model"):
            check_functions([(key, f"keras.applications.{name}")])


@pytest.mark.parametrize("name", ["harness.sweep.code_version.subprocess.run", "keras.src.utils.file_utils.os.system"])
def test_functions_that_a_module_imports_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Give the dotted name of a function"):
        check_functions([(MODEL, name)])


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return a command that trains a model from an unknown package."""
    (tmp_path / "small.csv").write_text(CSV)
    (tmp_path / "stranger.py").write_text(
        "from pathlib import Path\nfrom harness.models import linear\nPath('was-here').touch()\n"
        "def build(inputs):\n    return linear(inputs)\n"
    )
    return [COMMAND, "train", *DATA, "tracking.log_model=none", "model=custom", "model._target_=stranger.build"]


def test_an_untrusted_module_is_not_imported(words: list[str], tmp_path: Path) -> None:
    refused = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "was-here").exists()
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_a_trusted_module_is_imported(words: list[str], tmp_path: Path) -> None:
    trusted = subprocess.run([*words, "--trust", "-m", "seed=0"], cwd=tmp_path, capture_output=True, text=True)
    assert (trusted.returncode, trusted.stderr) == (0, "")
    assert (tmp_path / "was-here").exists()
    summary, run = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"], order_by=["start_time ASC"])
    assert "--trust" in summary.data.tags["command"]
    assert run.data.tags["command"].startswith("harness train --trust data=csv ")


def test_a_model_that_contains_code_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.export(tmp_path / "saved", verbose=False)
    # Keras does not even create such a layer in safe mode.
    layer = keras.layers.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve")
    entrance = keras.Input((1,))
    keras.Model(entrance, layer(entrance)).save(tmp_path / "model.keras")
    with pytest.raises(ConfigError, match="cannot be loaded safely"):
        load(tmp_path / "model.keras")


@pytest.mark.parametrize("name", ["../../out", "/etc/out", "..", ".", "a/b", "~", "C:\\out", "a:b", "plain name-1.0"])
def test_an_experiments_artifacts_are_beside_the_store(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a" / "b"
    client, experiment_id = open_store(f"sqlite:///{folder}/mlflow.db", name)
    place = Path(client.get_experiment(experiment_id).artifact_location.removeprefix("file://"))
    assert place.parent == folder / "mlartifacts"
    assert (place.name == name.replace(" ", "%20")) == name.startswith("plain")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["alone", "fused", "basic", "configured"])
def test_no_password_is_written_anywhere(server: Server, tmp_path: Path, launcher: str) -> None:
    (tmp_path / "small.csv").write_text(CSV)
    uri = server.uri.replace("://", f"://me:{PASSWORD}@")
    words = [f"tracking.uri={uri}"]
    if launcher == "configured":
        (tmp_path / "own" / "tracking").mkdir(parents=True)
        (tmp_path / "own" / "tracking" / "ours.yaml").write_text(f"uri: {uri}\n")
        words = ["--config-dir", "own", "tracking=ours"]
    if launcher in ("fused", "basic"):
        words += ["-m", "seed=0,1", *(["hydra/launcher=basic"] if launcher == "basic" else [])]
    done = subprocess.run([COMMAND, "train", *words, *DATA], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "***" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    written = [path for folder in (tmp_path, server.folder) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "config.yaml" and path.parent.name == ".hydra" for path in written)
    found = [path for path in written if PASSWORD.encode() in path.read_bytes()]
    assert found == ([tmp_path / "own" / "tracking" / "ours.yaml"] if launcher == "configured" else [])


@pytest.mark.slow
def test_a_refused_sweep_writes_no_password(server: Server, tmp_path: Path) -> None:
    (tmp_path / "small.csv").write_text(CSV)
    uri = server.uri.replace("://", f"://me:{PASSWORD}@")
    words = [*DATA, "-m", "chunksize=4,0", f"tracking.uri={uri}"]
    done = subprocess.run([COMMAND, "train", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert list(tmp_path.rglob("multirun.yaml"))
    assert not [path for path in tmp_path.rglob("*.yaml") if PASSWORD in path.read_text()]


def test_the_ui_shows_no_password_and_answers_here_only(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"postgresql://me:{PASSWORD}@127.0.0.1:9/db"
    said: list[str] = []
    started: dict[str, Any] = {}

    class Server:
        def __init__(self, words: list[str], **options: Any) -> None:
            started.update(options, words=words)

        def poll(self) -> int:
            return 1

        def communicate(self, timeout: float) -> tuple[str, str]:
            return "", f"no way to {uri}"

        def terminate(self) -> None: ...

        def wait(self) -> None: ...

    monkeypatch.setattr(ui.subprocess, "Popen", Server)
    monkeypatch.setattr("harness.tracking.ui.newest_sweep_links", lambda uri, server: [])
    with pytest.raises(ConfigError) as refusal:
        ui.serve(uri, None, said.append)
    words = started["words"]
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert started["env"]["MLFLOW_BACKEND_STORE_URI"] == uri
    assert PASSWORD not in " ".join([*words, *said, str(refusal.value)])
    assert "me:***@127.0.0.1:9/db" in str(refusal.value)
