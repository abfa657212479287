"""Counts the oddities of usable images, and reports them in a few lines."""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from harness.data.images.decode import Decoded, Odd
from harness.data.images.set import Rejected
from harness.data.tables.pages import ALL_PARTS, Part
from harness.formatting import count

LISTED = 10
"""Maximum number of rejected images to list."""


class Notes:
    """What was noticed while images were read.

    Attributes:
        rejected: Images that were left out, in order.
        skipped: Number of files that were not read, by phrase.
        formats: Number of images by format.
        smallest: Width and height of the image with the fewest pixels; `largest` is the same for the image with the
            most.
        odd: Number of images by oddity.
    """

    def __init__(self, root: str) -> None:
        """Start counting; names are shown relative to the folder `root`."""
        self._root = f"{root}/"
        self.rejected: list[Rejected] = []
        self.skipped: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.smallest, self.largest = (0, 0), (0, 0)
        self.odd: Counter[Odd] = Counter()
        self._first: dict[Odd, str] = {}
        # Takes a few bytes per image; names, which take more, are kept on disk.
        self._names = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._contents = bytearray()
        self._targets = array("d")
        self._parts = bytearray()  # The index of each image's part.

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *error: object) -> None:
        self._names.close()

    def add(self, name: str, image: Decoded, content: bytes, target: float, part: Part) -> None:
        """Add an image; the 8 bytes in `content` identify its content."""
        self.formats[image.format] += 1
        area = image.size[0] * image.size[1]
        if not self._targets or area < self.smallest[0] * self.smallest[1]:
            self.smallest = image.size
        if area > self.largest[0] * self.largest[1]:
            self.largest = image.size
        for odd in image.odd:
            self.odd[odd] += 1
            self._first.setdefault(odd, name.removeprefix(self._root))
        self._names.write(" ".join(name.removeprefix(self._root).split()) + "\n")
        self._contents += content
        self._targets.append(target)
        self._parts.append(ALL_PARTS.index(part))

    def lines(self, classes: Sequence[str] = (), held_out: Sequence[int] = ()) -> Iterator[str]:
        """Yield a phrase for each kind of oddity, with the first image that has it."""
        if len(self.formats) > 1:
            yield f"formats: {', '.join(f'{number:,} {name}' for name, number in self.formats.most_common())}"
        for odd in Odd:
            if self.odd[odd]:
                more = ", ..." if self.odd[odd] > 1 else ""
                yield f"{count(self.odd[odd], 'image')} {odd.value}: {self._first[odd]}{more}"
        yield from self._duplicates()
        if any(held_out):
            missing = [name for name, images in zip(classes, held_out, strict=True) if not images]
            if missing:
                yield f"no held-out image of {', '.join(missing)}"
        if self.skipped:
            yield f"not read: {', '.join(f'{number:,} {phrase}' for phrase, number in self.skipped.most_common())}"
        if self.rejected:
            some = "; ".join(f"{name} {reason}" for name, reason in self.rejected[:LISTED])
            more = len(self.rejected) - LISTED
            yield f"left out {len(self.rejected):,}: {some}{f'; and {more:,} more' if more > 0 else ''}"

    def held_out_names(self, root: str) -> Iterator[str]:
        """Yield the names of the held-out images in order, without `root`."""
        for name, part in zip(self._read_names(), self._parts, strict=True):
            if ALL_PARTS[part] == "holdout":
                yield name.removeprefix(f"{root}/")

    def _read_names(self) -> Iterator[str]:
        self._names.seek(0)
        return (line.removesuffix("\n") for line in self._names)

    def _named(self, pair: tuple[int, int]) -> tuple[str, str]:
        found = {index: name for index, name in enumerate(self._read_names()) if index in pair}
        return found[pair[0]], found[pair[1]]

    def _duplicates(self) -> Iterator[str]:
        contents = np.frombuffer(bytes(self._contents), np.uint64)
        order = np.argsort(contents, kind="stable")
        same = np.flatnonzero(np.diff(contents[order]) == 0)
        pairs = list(zip(order[same].tolist(), order[same + 1].tolist(), strict=True))
        labels = [pair for pair in pairs if self._targets[pair[0]] != self._targets[pair[1]]]
        parts = [pair for pair in pairs if self._parts[pair[0]] != self._parts[pair[1]]]
        for found, where in (
            (labels, "under different labels"),
            (parts, "in different parts" if ALL_PARTS.index("test") in self._parts else "in both parts"),
        ):
            if found:
                one, other = self._named(found[0])
                yield f"{count(len(found), 'duplicate image')} {where}: {one} and {other}"
        rest = len(pairs) - len({*labels, *parts})
        if rest:
            yield count(rest, "duplicate image")
