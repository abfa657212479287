"""Peers without Adam, which update the weights after each row: scikit-learn and Vowpal Wabbit."""

# scikit-learn has no types, and the others are optional packages.
# pyright: reportArgumentType=false, reportOptionalSubscript=false, reportMissingImports=false
import tempfile
import time
from collections.abc import Callable

from experiments.benchmark.task import COLUMNS, Fit, Outcome, Task


def scikit_learn(task: Task) -> Outcome:
    """Call `partial_fit` on pandas chunks."""
    start = time.perf_counter()
    from sklearn.linear_model import SGDRegressor

    from experiments.benchmark.peers.reading import chunks

    startup = time.perf_counter() - start
    model = SGDRegressor(penalty=None, learning_rate="constant", eta0=0.0002, random_state=0)

    def epoch() -> list[float]:
        for x, y in chunks(task):
            model.partial_fit(x, y)
        return [float(model.intercept_[0]), float(model.coef_[0])]

    laps, weights = _timed(epoch, task.stops[-1])
    return Outcome(task.rows, laps, [Fit(task.chunks[0], 0.0002, task.stops[-1], weights)], startup=startup)


def vowpal_wabbit(task: Task) -> Outcome:
    """Write rows in Vowpal Wabbit's text format and to its cache, which counts as reading; then pass over the cache."""
    start = time.perf_counter()
    import polars as pl
    from vowpalwabbit import Workspace

    startup = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        text = f"{folder}/rows.vw"

        def train(passes: int = task.stops[-1]) -> list[float]:
            # Ten bits are enough for two weights. The intercept is a feature, so that it can be looked up by name.
            options = f"--cache_file {folder}/cache --passes {passes} --holdout_off -b 10 --noconstant --quiet"
            learner = Workspace(f"--data {text} {options}")
            weights = [learner.get_weight_from_name(name) for name in ("b", "x")]
            learner.finish()
            return weights

        start = time.perf_counter()
        rows = pl.scan_csv(task.path, schema_overrides=dict.fromkeys(COLUMNS, pl.Float64), n_rows=task.rows)
        columns = zip(COLUMNS, task.mean, task.std, strict=True)
        x, y = (((pl.col(name) - mean) / std).cast(pl.Float32) for name, mean, std in columns)
        rows.select(pl.format("{} | b x:{}", y, x)).sink_csv(text, include_header=False, quote_style="never")
        train(1)
        read = time.perf_counter() - start
        laps, weights = _timed(train, 3)
    fit = Fit(task.chunks[0], 0.5, task.stops[-1], weights)
    return Outcome(task.rows, laps, [fit], read=read, lap_epochs=task.stops[-1], startup=startup)


def _timed(work: Callable[[], list[float]], repeats: int) -> tuple[list[float], list[float]]:
    """Call `work` repeatedly; return the seconds of each call, and the last result."""
    laps, found = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        found = work()
        laps.append(time.perf_counter() - start)
    return laps, found
