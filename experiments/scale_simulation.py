"""Does a sweep over a table of 100 GB scale to 1,000 workers? A simulation based on the times of its parts.

`python -m experiments.scale_simulation` prints the table in docs/scale.md. The defaults of `--rate` and `--compile` are
measured; `--start`, `--shared`, `--node` and `--disk` are assumed.
"""

import argparse
from dataclasses import dataclass

WORKERS = (1, 16, 64, 256, 512, 1000)


@dataclass(frozen=True)
class Cluster:
    """The cluster on which a sweep is trained; sizes in bytes, times in seconds.

    Attributes:
        rate: Lane-rows that a worker trains per second.
        start: Time until a worker has started.
        compile: Time until it has compiled its loops.
        shared: Bytes per second from the shared file system to all workers together.
        node: Bytes per second from there to one worker.
        disk: Bytes per second from a worker's own disk.
    """

    rate: float
    start: float
    compile: float
    shared: float
    node: float
    disk: float

    def seconds(self, workers: int, lanes: int, epochs: int, size: float, row: float, *, copied: bool) -> float:
        """Return the time until the last worker has ended; workers read the next block while they train on this one."""
        own = -(-lanes // workers)  # Whole tiles: of this model, each has one lane.
        remote = min(self.node, self.shared / workers)
        train = own * size / row / self.rate
        read = size / (self.disk if copied else remote)
        copy = size / remote if copied else 0.0
        return self.start + self.compile + copy + epochs * max(train, read)


def main() -> None:
    """Print a row for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value, meaning in (
        ("rate", 1.38e6, "lane-rows per second of a worker"),
        ("start", 6, "seconds to start"),
        ("compile", 6, "seconds to compile"),
        ("shared", 10e9, "bytes per second of the shared file system"),
        ("node", 1e9, "bytes per second from there to one worker"),
        ("disk", 2e9, "bytes per second of a worker's disk"),
        ("size", 100e9, "bytes of the table"),
        ("row", 76, "bytes of a row"),
        ("lanes", 1024, "lanes"),
        ("epochs", 10, "epochs"),
    ):
        parser.add_argument(f"--{name}", type=float, default=value, help=f"{meaning} (default: %(default)g)")
    given = vars(parser.parse_args())
    sweep = {"lanes": int(given.pop("lanes")), "epochs": int(given.pop("epochs"))}
    sweep |= {name: given.pop(name) for name in ("size", "row")}
    cluster = Cluster(**given)
    print("| workers | lanes each | hours, copied | efficiency | hours, shared | efficiency |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    one = min(cluster.seconds(1, **sweep, copied=copied) for copied in (True, False))
    for workers in WORKERS:
        times = [cluster.seconds(workers, **sweep, copied=copied) for copied in (True, False)]
        cells = [f"{time / 3600:,.1f} | {one / workers / time:.2f}" for time in times]
        print(f"| {workers:,} | {-(-sweep['lanes'] // workers):,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
