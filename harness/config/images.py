"""The schema of `data.*` for images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from harness.config.any_data import HOLDOUT, AnyData, Order, Scaling, class_weight
from harness.config.limits import check_values, require_distinct, require_whole, shown
from harness.config.objective import CLASSES_LOSS, Loss
from harness.errors import require

TARGET, WEIGHTS = "_target_", "weights"
"""The keys of `data.embed`; others are arguments of the function."""

MOST_PIXELS = 4096
"""Maximum height or width of a prepared image."""


class Fit(Enum):
    """How an image gets the height and width of `data.image_size`."""

    crop = "crop"
    pad = "pad"
    stretch = "stretch"


class Unreadable(Enum):
    """What to do with images that cannot be used."""

    error = "error"
    drop = "drop"


class LabelType(Enum):
    """The kind of labels."""

    category = "category"
    number = "number"


@dataclass
class ImagesConfig(AnyData):
    """Where images and their labels come from, and how they become rows.

    Attributes:
        path: A folder with one subfolder of images per class; a CSV or Parquet file that lists images and labels; or a
            Parquet file that holds the images. None generates the built-in handwritten digits.
        labels: A CSV or Parquet file with the labels of the images in `data.path`, which is then a folder.
        holdout_path: The held-out images, in the same form as `data.path`; None holds out a fraction of the training
            images.
        path_column: Column that contains the images or their paths. Paths are relative to `data.path` if that is a
            folder, and otherwise to the list. None means `path`, `file`, `filename`, `file_name` or `image`.
        label_column: Column with the labels. None means `label`, `class`, `category`, `target` or `y`.
        label_type: Whether labels are categories or numbers.
        classes: The classes, in the order of their indices; None means all labels found, sorted.
        group: Column with groups, such as patients: images of the same group stay in the same part.
        image_size: Height and width in pixels of the prepared images.
        channels: 3 for color, or 1 for gray.
        fit: `crop` trims what does not fit, `pad` adds black borders, and `stretch` changes proportions.
        embed: A frozen model that each image passes through once, when it is ingested; runs train on its output instead
            of pixels. `_target_` names a function in `keras.applications`, or one that takes `inputs`, the shape of an
            image, and returns a Keras model; `weights` is the file with its weights; other keys are arguments of the
            function.
        unreadable: `error` rejects images that cannot be used; `drop` leaves them out and reports how many.
        origin: Where to get the images; shown if they do not exist.
        scaling: `standard` subtracts each channel's mean over the training images and divides by its standard
            deviation; `none` divides by 255.
        holdout: Fraction of the images to hold out, in [0, 1).
        test: Fraction of the images, in [0, 1), that are neither trained on nor held out. Only the best runs are
            evaluated on them, once, after training.
        folds: Split the images into this many holdouts of about equal size, instead of using one holdout of
            `data.holdout`.
        fold: Which of the folds this run holds out, counting from 0. With -m, `data.folds` alone trains all of them.
        split_seed: Seed for choosing the holdout and test images, and for the order of shuffled images.
        order: `shuffled` permutes images once, and pages of them in each epoch; `file` keeps the order of classes.
        class_weight: Weights of the classes, such as `{cat: 5}`; classes not listed have weight 1. `balanced` gives all
            classes the same total weight in the loss.
    """

    image_size: list[int]
    path: Any = None
    labels: str | None = None
    holdout_path: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    label_type: LabelType = LabelType.category
    classes: list[str] | None = None
    group: str | None = None
    channels: int = 3
    fit: Fit = Fit.crop
    unreadable: Unreadable = Unreadable.error
    origin: str | None = None
    scaling: Scaling = Scaling.standard
    holdout: float = HOLDOUT
    test: float = 0.0
    folds: int | None = None
    fold: int | None = None
    split_seed: int = 0
    order: Order = Order.shuffled
    class_weight: Any = None
    embed: Any = field(default_factory=lambda: {TARGET: None, WEIGHTS: None})

    def __post_init__(self) -> None:
        is_pair = len(self.image_size) == 2
        require(
            is_pair, f"data.image_size must be a height and a width, such as [64,64], not {shown(self.image_size)}."
        )
        for pixels in self.image_size:
            require_whole("data.image_size", pixels, 1, MOST_PIXELS)
        require(self.channels in (1, 3), f"data.channels must be 1 or 3, not {shown(self.channels)}.")
        self._check_split()
        is_path = self.path is None or (isinstance(self.path, str) and bool(self.path))
        require(is_path, f"data.path must be one folder or file, not {shown(self.path)}.")
        require(not (self.labels and self.path is None), "data.labels needs data.path, the folder of the images.")
        for key, value in (("group", None if self.test else self.group), ("folds", self.folds)):
            require(
                not (value and self.holdout_path),
                f"data.{key} has no effect with data.holdout_path, which determines the holdout. Remove one of them.",
            )
        self.class_weight = class_weight(self.class_weight)
        self._check_classes()
        self._check_embed()

    def for_loss(self, loss: Loss) -> ImagesConfig:
        """See `AnyData`."""
        if self.label_type is LabelType.category:
            remedy = f"Set loss={CLASSES_LOSS.value}, or data.label_type=number."
            require(loss is CLASSES_LOSS, f"loss={loss.value} does not predict the classes of images. {remedy}")
        else:
            require(not loss.has_labels, f"data.label_type=number needs a numeric loss, not loss={loss.value}.")
            weights = f"data.class_weight needs classes, but loss={loss.value} predicts numbers."
            require(self.class_weight is None, weights)
        return self

    def _check_classes(self) -> None:
        if self.classes is None:
            return
        is_number = self.label_type is LabelType.number
        require(
            not is_number,
            "data.classes has no effect on labels that are numbers; remove it, or data.label_type=number.",
        )
        require_distinct("data.classes names", self.classes)
        require(len(self.classes) > 1, "data.classes must name at least two classes.")

    def _check_embed(self) -> None:
        given = {} if self.embed is None else self.embed
        keys = "data.embed._target_, a function, and data.embed.weights, a file"
        require(isinstance(given, Mapping), f"data.embed has its own keys: set {keys}, not {shown(given)}.")
        given = {str(key): value for key, value in given.items()}
        if all(value is None for value in given.values()):
            self.embed = None
            return
        self.embed = {TARGET: None, WEIGHTS: None} | given
        check_values("data.embed", self.embed)
        target, weights = self.embed[TARGET], self.embed[WEIGHTS]
        require(
            isinstance(target, str) and bool(target),
            f"data.embed._target_ must name a function that returns a Keras model, not {shown(target)}.",
        )
        require(
            isinstance(weights, str) and bool(weights),
            f"data.embed.weights must be the file with the weights of {target}, not {shown(weights)}.",
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the prepared images."""
        height, width = self.image_size
        return height, width, self.channels
