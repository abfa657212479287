"""Decodes one image file to pixels of a given size, and notes anything unusual about it."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import Fit

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "AVIF": (".avif",),
}
"""Formats by Pillow's names, with their file suffixes; decoding these never runs other programs."""

MOST_PIXELS = 150_000_000
"""Larger images are treated as decompression bombs; an image of this size takes 450 MB when decoded."""

EXTREME = 4
"""Cropping, padding or distortion is reported if the image's aspect ratio is off by more than this."""

ORIENTATION = 0x0112


class Odd(Enum):
    """What is unusual about a usable image, as a phrase in the plural."""

    suffix = "with the suffix of another format, read by content"
    rotated = "rotated or mirrored according to their EXIF data"
    exif = "with broken EXIF data, kept as they are"
    deep = "with more than 8 bits per channel, scaled to 8"
    alpha = "with transparency, placed on white"
    cmyk = "in CMYK, converted"
    palette = "with a palette, converted"
    bilevel = "with 1 bit per pixel, converted"
    grey = "in grayscale, converted to color"
    animated = "with several frames, of which only the first is used"
    tiny = "smaller than data.image_size, enlarged"
    extreme = "of extreme proportions"


class UnreadableImage(Exception):
    """An image cannot be used; the message is the end of a sentence that says why."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: uint8 `[height, width, channels]`.
        format: Pillow's name of the file's format.
        size: Width and height in the file, after rotation.
    """

    pixels: np.ndarray
    format: str
    size: tuple[int, int]
    odd: tuple[Odd, ...]


def decoder() -> str:
    """Return the versions of the decoders, which affect pixels."""
    import PIL
    from PIL import features

    return f"Pillow {PIL.__version__}, libjpeg {features.version('libjpeg_turbo') or features.version('jpg')}"


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Pillow's warnings in the whole process, since warning filters are global."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def decode(data: bytes, suffix: str, shape: tuple[int, int, int], fit: Fit) -> Decoded:
    """Decode an image file completely; call it within `quiet`.

    Args:
        data: The file's content.
        suffix: Suffix of the file's name, empty if it has none.
        shape: Requested height, width and channels.
        fit: How to fit the image to this height and width.

    Raises:
        UnreadableImage: The file is not an image, is damaged, or is too large.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise UnreadableImage("is empty")
    odd: list[Odd] = []
    try:
        with Image.open(io.BytesIO(data), formats=[*SUFFIXES]) as image:
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            if suffix and suffix not in SUFFIXES[kind]:
                odd.append(Odd.suffix)
            if math.prod(image.size) > MOST_PIXELS:
                raise UnreadableImage(_too_large(*image.size))
            if kind != "JPEG" and getattr(image, "n_frames", 1) > 1:
                odd.append(Odd.animated)
            turn = _orientation(image, odd)
            return _fitted(image, kind, turn, shape, fit, odd)
    except UnidentifiedImageError:
        raise UnreadableImage(_what_instead(data)) from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"has more than {MOST_PIXELS // 10**6} million pixels") from None
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise all kinds of errors on damaged data.
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UnreadableImage(f"cannot be decoded ({reason})") from error


def _too_large(width: int, height: int) -> str:
    return f"has {width:,} x {height:,} pixels, more than {MOST_PIXELS // 10**6} million"


def _what_instead(data: bytes) -> str:
    start = data[:1024].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "is a web page, not an image"
    return "is not an image"


def _orientation(image: Image, odd: list[Odd]) -> Transpose | None:
    """Return how to rotate or mirror an image according to its EXIF data."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        tags = dict(image.getexif())
        value = tags.get(ORIENTATION, 1)
    except Exception:
        tags, value = {}, 0
    if value in turns:
        odd.append(Odd.rotated)
        return turns[value]
    if value != 1 or ("exif" in image.info and not tags):
        odd.append(Odd.exif)
    return None


def _fitted(
    image: Image, kind: str, turn: Transpose | None, shape: tuple[int, int, int], fit: Fit, odd: list[Odd]
) -> Decoded:
    from PIL import Image as images

    is_sideways = turn is not None and turn.name in ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
    height, width = (shape[1], shape[0]) if is_sideways else shape[:2]
    original = image.size
    scales = width / original[0], height / original[1]
    if max(scales) > EXTREME * min(scales):
        odd.append(Odd.extreme)
    if fit is not Fit.stretch:
        scales = (max(scales),) * 2 if fit is Fit.crop else (min(scales),) * 2
    if max(scales) > 1:
        odd.append(Odd.tiny)
    # A JPEG decoder can halve sizes at almost no cost; it stops at twice the size, to leave the rest to an accurate
    # filter.
    wanted = [max(1, math.ceil(2 * pixels * scale)) for pixels, scale in zip(original, scales, strict=True)]
    image.draft("L" if shape[2] == 1 else None, (wanted[0], wanted[1]))
    image.load()
    plain = _converted(image, "L" if shape[2] == 1 else "RGB", odd)
    across, down = (original[0] * scales[0], original[1] * scales[1])
    inner = max(1, min(width, round(across))), max(1, min(height, round(down)))
    cut = [pixels * (1 - kept) / 2 for pixels, kept in zip(plain.size, (width / across, height / down), strict=True)]
    left, top = max(cut[0], 0.0), max(cut[1], 0.0)
    box = (left, top, plain.size[0] - left, plain.size[1] - top)
    resized = plain.resize(inner, images.Resampling.BILINEAR, box)
    if inner != (width, height):
        padded = images.new(resized.mode, (width, height))
        padded.paste(resized, ((width - inner[0]) // 2, (height - inner[1]) // 2))
        resized = padded
    if turn is not None:
        resized = resized.transpose(turn)
    pixels = np.asarray(resized).reshape(shape)
    size = (original[1], original[0]) if is_sideways else original
    return Decoded(pixels, kind, size, tuple(odd))


def _converted(image: Image, mode: str, odd: list[Odd]) -> Image:
    """Return a loaded image as gray or color with 8 bits per channel, without transparency."""
    from PIL import Image as images

    if image.mode.startswith("I") or image.mode == "F":
        odd.append(Odd.deep)
        image = images.fromarray(_to_8_bits(np.asarray(image)))
    elif image.mode in ("CMYK", "1"):
        odd.append(Odd.cmyk if image.mode == "CMYK" else Odd.bilevel)
    elif image.mode in ("P", "PA"):
        odd.append(Odd.palette)
    if image.has_transparency_data:
        whole: Any = image.convert("RGBA")
        if whole.getextrema()[3][0] < 255:
            odd.append(Odd.alpha)
            white = images.new("RGBA", whole.size, (255, 255, 255, 255))
            image = images.alpha_composite(white, whole)
    if image.mode == "L" and mode == "RGB" and Odd.deep not in odd:
        odd.append(Odd.grey)
    return image if image.mode == mode else image.convert(mode)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale 16-bit gray, `[height, width]`, to 8 bits; Pillow would clip it to white."""
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        kind = "floating-point" if values.dtype.kind == "f" else "32-bit"
        raise UnreadableImage(f"has {kind} pixels, whose range is unknown")
    return np.rint(values / 257).astype(np.uint8)
