"""Compare training on chunks with training on the full sample."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # It is read when MLflow is first imported.
