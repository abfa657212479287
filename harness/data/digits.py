"""The built-in images: the 1,797 handwritten digits of scikit-learn, as a Parquet file of PNG images.

They are the test part of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998; CC BY 4.0).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from harness.data.storage.local import written_whole

VERSION = 1
"""Increment the number whenever the file's content changes."""


def generate(path: Path) -> None:
    """Write the file; each image has 8 x 8 pixels."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    images = []
    for number, pixels in enumerate(np.rint(found["images"] * (255 / 16)).astype(np.uint8)):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": f"{number}.png"})
    table = pa.table({"image": images, "label": found["target"].astype(np.int32)})
    with written_whole(path) as partial:
        pq.write_table(table, partial)
