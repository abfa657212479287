"""How does training on chunks compare with training on the full sample when predicting a house's price from its size?

    harness train experiment=house_prices sweep=full_vs_batch

This trains 24 runs in half a minute on two cores. A full-sample run makes one update per epoch, so after 20 epochs it
has made only 20 updates and is still far off; with chunks of 100 rows, a single epoch makes 173 updates and gets close.
"""

import keras

from harness.models import linear


def build_model(inputs: int) -> keras.Model:
    """Build price = intercept + slope * size, both starting at 0.1 after scaling."""
    return linear(inputs, init=0.1)
