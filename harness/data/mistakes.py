"""The most confident mistakes of a model on held-out images, as thumbnails, kept with a sweep for its report."""

from __future__ import annotations

import base64
import heapq
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.data.tables.table import NAMES

if TYPE_CHECKING:
    from harness.data.tables.table import Table

FILE = "mistakes.json"
MOST = 24
"""Maximum number of mistakes that are kept."""
MOST_ROWS = 50_000
"""Maximum number of held-out images that are examined, in pages from all over the table."""
PIXELS = 96
"""Maximum height and width of a thumbnail."""
BATCH = 64


@dataclass(frozen=True)
class Mistake:
    """An image and its predicted class.

    Attributes:
        label: Its true class.
        predicted: The class to which the model assigns the highest probability.
        probability: That probability.
        name: The image's file, if known.
        png: The thumbnail as a base64-encoded PNG.
    """

    label: str
    predicted: str
    probability: float
    name: str
    png: str


def mistakes_json(table: Table, predict: Callable[[np.ndarray], np.ndarray]) -> str:
    """Return the mistakes as JSON, the most confident first; empty unless the table has images and classes.

    Args:
        table: A table with pixels.
        predict: Returns probabilities `[rows, classes]` for pixels, uint8 `[rows, height, width, channels]`.
    """
    (image, *others), (target, *_) = table.features, table.targets
    if others or image.dtype != "uint8" or len(image.shape) != 3 or not target.categories or not table.holdout_rows:
        return ""
    best: list[tuple[float, int, int, int, np.ndarray]] = []
    for first, pixels, labels in _batches(table):
        outputs = predict(pixels)
        predicted, top = outputs.argmax(axis=1), outputs.max(axis=1)
        for index in np.flatnonzero(predicted != labels).tolist():
            # The row number breaks ties between equal probabilities, so that arrays are never compared.
            found = (float(top[index]), -(first + index), int(labels[index]), int(predicted[index]), pixels[index])
            if len(best) < MOST:
                heapq.heappush(best, found)
            elif found[:2] > best[0][:2]:
                heapq.heapreplace(best, found)
    names = _names(table)
    classes = [str(category) for category in target.categories]
    mistakes = [
        Mistake(classes[label], classes[predicted], top, names.get(-row, ""), _thumbnail(pixels))
        for top, row, label, predicted, pixels in sorted(best, key=lambda found: found[:2], reverse=True)
    ]
    return json.dumps([asdict(mistake) for mistake in mistakes])


def read_mistakes(text: str) -> list[Mistake]:
    """Parse mistakes from JSON, which may come from someone else.

    Raises:
        ValueError: The JSON does not describe mistakes.
    """
    from pydantic import TypeAdapter

    found = TypeAdapter(list[Mistake]).validate_json(text)[:MOST]
    for mistake in found:
        base64.b64decode(mistake.png, validate=True)
    return found


def _batches(table: Table) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield batches of the holdout: the first row's number, the pixels and the labels."""
    reader, pages = table.reader("holdout"), table.pages("holdout")
    chosen = np.linspace(0, pages - 1, min(pages, max(1, MOST_ROWS // table.page_rows))).astype(int)
    for page in chosen.tolist():
        start = page * table.page_rows
        stop = min(start + table.page_rows, table.holdout_rows)
        pixels, labels = reader.read(start, stop)[:2]
        for row in range(0, stop - start, BATCH):
            yield start + row, pixels[row : row + BATCH], labels[row : row + BATCH]


def _names(table: Table) -> dict[int, str]:
    """Return the names of held-out images by row, if they were kept."""
    try:
        lines = (table.folder / NAMES).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(enumerate(lines))


def _thumbnail(pixels: np.ndarray) -> str:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
