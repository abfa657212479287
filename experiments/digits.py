"""How does training on chunks compare with training on the full sample when recognizing handwritten digits?

    harness train experiment=digits sweep=full_vs_batch

This trains 24 runs on 1,797 images of 8 x 8 pixels. After 20 epochs, a full-sample run has made 20 updates; with chunks
of 100 images, a run has made 300 and classifies more than 95% of the held-out images correctly.
"""

import keras

from harness.models import cnn


def build_model(inputs: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a network of two convolutions."""
    return cnn(inputs, classes, filters=[16, 32], units=64)
