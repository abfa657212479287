"""Compares the harness with Keras's image pipeline: decoding, later epochs, several lanes, and peak memory."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.benchmark.goals import Goal
from experiments.benchmark.image_files import photos, thumbnails
from experiments.benchmark.process import run_peer
from experiments.benchmark.task import Task
from experiments.benchmark.timing import Part, Span, span

LANES = 8
EPOCHS = 6
FEW = 2000
"""Number of images in the smaller of the two sets whose peak memory is compared."""


def image_parts(images: int, most: int, repeats: int, files: Path, say: Callable[[str], None]) -> dict[str, Part]:
    """Measure everything on `images` images, and peak memory on up to `most`; the images stay in `files`."""
    say(f"{images:,} images")
    task = Task(images, (32,), (0.001,), (EPOCHS,), path=str(photos(files, images)))
    found: dict[str, Part] = {}
    for key, what in (
        ("decode", "harness"),
        ("decode_keras", "image_dataset_from_directory"),
        ("decode_antialiased", "tf.data, antialiased"),
    ):
        say(f"    decoding, {what}")
        laps = [outcome.laps[0] for outcome in run_peer(f"images_{key}", [task] * repeats)]
        found[f"images/{key}"] = Part(f"images decoded per CPU second, {what}", _inverse(images, span(laps)), "")
    for options in ((), ("cache",), ("cache_file",)):
        name = "_".join(["images/fit", *options])
        what = f"a later epoch, Keras fit{''.join(f', {option}' for option in options)}"
        say(f"    {what}")
        (outcome,) = run_peer("images_fit", [replace(task, options=options)])
        found[name] = Part(what, span(outcome.laps))
    with TemporaryDirectory() as folder:
        one = replace(task, folder=folder)
        rates = tuple(0.0005 * (1 + lane) for lane in range(LANES))
        for tasks, name, what in (
            ([one], "images/epoch", "a later epoch, harness, one lane"),
            ([replace(one, rates=rates)], "images/lanes", f"a later epoch, harness, {LANES} lanes"),
        ):
            say(f"    {what}")
            (outcome,) = run_peer("images_train", tasks)
            found[name] = Part(what, span(outcome.laps))
    for count in dict.fromkeys((min(FEW, most), most)):
        say(f"    peak memory, {count:,} images")
        with TemporaryDirectory() as folder:
            path = str(thumbnails(files, count))
            (outcome,) = run_peer("images_memory", [Task(count, path=path, folder=folder)])
        what = f"peak memory above `import tensorflow`, {count:,} images"
        found[f"images/memory/{'few' if count < most else 'many'}"] = Part(
            what, span([outcome.figures["memory_mb"]]), "MB"
        )
    return found


def image_goals(parts: Mapping[str, Part]) -> list[Goal]:
    """Return the goals of images."""

    def quotient(above: str, below: str, factor: float = 1.0) -> float | None:
        values = [parts[f"images/{name}"].value.mid if f"images/{name}" in parts else None for name in (above, below)]
        return factor * values[0] / values[1] if values[0] and values[1] else None

    return [
        Goal("decoding images, speed-up over tf.data with antialiasing", 1.2, quotient("decode", "decode_antialiased")),
        Goal("decoding images, speed-up over Keras without antialiasing", 0.8, quotient("decode", "decode_keras")),
        Goal("a later epoch of images, relative to .cache()", 1.1, quotient("epoch", "fit_cache"), at_least=False),
        Goal(f"{LANES} lanes, speed-up over running Keras fit for each in turn", 2, quotient("fit", "lanes", LANES)),
        Goal(
            "peak memory with many images, relative to few", 1.1, quotient("memory/many", "memory/few"), at_least=False
        ),
    ]


def _inverse(images: int, seconds: Span) -> Span:
    return span(images / each for each in seconds)
