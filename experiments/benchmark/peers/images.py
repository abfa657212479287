"""Images: the harness, and Keras's own pipeline from folders with `fit`, with the same model and image size."""

# The stubs of TensorFlow and Keras are stricter than the libraries.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import harness
from experiments.benchmark.peers.memory import peak_of
from experiments.benchmark.task import Outcome, Task
from harness.config import ImagesConfig
from harness.data.tables.builder import open_table
from harness.models import cnn

SIZE = (64, 64)
CHUNK = 32


def decode(task: Task) -> Outcome:
    """Create a table of the images."""
    data = ImagesConfig(path=task.path, image_size=[*SIZE], holdout=0.0)

    def read() -> None:
        with tempfile.TemporaryDirectory() as folder:
            open_table(data, Path(folder))

    return _cpu_time(task, read)


def decode_with_keras(task: Task) -> Outcome:
    """Read all images once with Keras's pipeline, which does not antialias."""
    return _cpu_time(task, lambda: _consume(_dataset(task)))


def decode_antialiased(task: Task) -> Outcome:
    """Read all images once with a TensorFlow pipeline that antialiases, as the harness does."""

    def pixels(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, SIZE, antialias=True)

    files = tf.data.Dataset.list_files(f"{task.path}/*/*.jpg", shuffle=False)
    return _cpu_time(task, lambda: _consume(files.map(pixels, tf.data.AUTOTUNE).batch(CHUNK)))


def fit(task: Task) -> Outcome:
    """Fit on Keras's pipeline without a cache, or with the option `cache` or `cache_file`; laps are later epochs."""
    with tempfile.TemporaryDirectory() as folder:
        data = _dataset(task).map(lambda x, y: (x / 255.0, y), tf.data.AUTOTUNE)
        data = {"cache": data.cache, "cache_file": lambda: data.cache(f"{folder}/cache")}.get(
            "".join(task.options), lambda: data
        )()
        keras.utils.set_random_seed(0)
        model = cnn((*SIZE, 3), 10)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(task.rates[0]), loss)
        times: list[float] = []
        clock = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: times.append(time.perf_counter()))
        model.fit(data.prefetch(tf.data.AUTOTUNE), epochs=task.stops[-1], verbose=0, callbacks=[clock])
        times.append(time.perf_counter())
    first, *laps = [after - before for before, after in itertools.pairwise(times)]
    return Outcome(task.rows, laps, compile=max(0.0, first - min(laps)))


def train(task: Task) -> Outcome:
    """Train a lane for each rate with the harness; laps are the epochs after the first."""
    words = [*_words(task), f"learning_rate={','.join(map(str, task.rates))}", f"epochs={task.stops[-1]}"]
    with contextlib.chdir(task.folder), contextlib.redirect_stdout(sys.stderr):
        found = harness.train([*(["-m"] if len(task.rates) > 1 else []), *words])
    times = [0.0, *sorted(found.curves["seconds"].dropna().unique())]
    return Outcome(task.rows, [after - before for before, after in itertools.pairwise(times)][1:])


def train_in_little_memory(task: Task) -> Outcome:
    """Create a table and train for an epoch; `memory_mb` is the peak above `import tensorflow`."""
    importing = peak_of([sys.executable, "-c", "import tensorflow"], "/")
    command = [str(Path(sys.executable).with_name("harness")), "train", *_words(task), "epochs=1"]
    command += ["data.order=shuffled"]  # The default for images.
    return Outcome(task.rows, [], figures={"memory_mb": peak_of(command, task.folder) - importing})


def _words(task: Task) -> list[str]:
    return [
        *("data=images", f"data.path={task.path}", f"data.image_size=[{SIZE[0]},{SIZE[1]}]", "data.holdout=0"),
        *("data.scaling=none", "data.order=file", "loss=sparse_categorical_crossentropy", "model=cnn"),
        *(f"runtime.threads={os.cpu_count()}", f"chunksize={CHUNK}"),
        *("tracking.log_model=none", "tracking.experiment=bench", "runtime.rerun=true"),
    ]


def _dataset(task: Task) -> Any:
    return keras.utils.image_dataset_from_directory(
        task.path, image_size=SIZE, batch_size=CHUNK, shuffle=False, verbose=False
    )


def _consume(data: Any) -> None:
    for _ in data:
        pass


def _cpu_time(task: Task, work: Callable[[], None]) -> Outcome:
    """Do the work twice, since the first includes imports and compilation; the lap is the CPU time of the second."""
    work()
    start = time.process_time()
    work()
    return Outcome(task.rows, [time.process_time() - start])
