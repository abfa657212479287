"""Wherever a sweep is started, it gives the same numbers or a one-line message, and the next command works."""

from __future__ import annotations

import math
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.warm import Warm

pytestmark = pytest.mark.slow

ROWS = "x,y\n" + "".join(f"{row % 50},{3 * (row % 50) + row % 7}\n" for row in range(500))
WORDS = (
    *("train", "-m", "data=csv", "data.features=[x]", "data.target=y", "chunksize=full,50", "epochs=2"),
    "runtime.time_alone=false",
)
NAMES = st.text("ab0 .-_?%#&=+:;,!'\"$~^@()[]{}<>|*\\\u00e9\u4f60\u202e\u0301", min_size=1, max_size=12).filter(
    lambda name: name.strip(" .") != ""
)
STATES = st.sampled_from(
    ["fine", "missing", "read-only", "unreadable", "a file", "a link", "a dangling link", "a loop"]
)
"""The state of a folder that a command is told to use."""

# Examples are not shrunk, because each takes seconds.
EXAMPLES = settings(deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate))


class Answer(NamedTuple):
    """The exit code of a command, and what it printed."""

    code: int
    said: str

    @property
    def is_plain(self) -> bool:
        """Whether it succeeded, or failed with the harness's own message rather than a raw error."""
        raw = ("Traceback", "HYDRA_FULL_ERROR", "Error in call to target")
        return self.code == 0 or (
            self.code in (1, 2) and "harness: " in self.said and not any(map(self.said.count, raw))
        )


def run(warm: Warm, folder: Path, *words: str, **options: Any) -> Answer:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        log = Path(place, "log")
        code = warm.run(folder, *words, log=log, seconds=60, **options)
        return Answer(code, log.read_text() if log.exists() else "")


@pytest.fixture(scope="module")
def expected(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], float]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "some.csv").write_text(ROWS)
    assert run(warm, folder, *WORDS, "data.path=some.csv").code == 0
    return numbers(folder / "mlflow.db")


def numbers(database: Path) -> dict[tuple[str, str], float]:
    """Return the last value of each metric that does not depend on time, by run and metric; all runs have finished."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as store:
        assert {status for (status,) in store.execute("SELECT status FROM runs")} == {"FINISHED"}
        points = store.execute(
            "SELECT name, key, step, value FROM metrics JOIN runs USING (run_uuid)"
            " JOIN (SELECT run_uuid FROM tags WHERE key = 'kind' AND value = 'run') USING (run_uuid)"
            " WHERE key NOT LIKE 'time/%' AND key != 'rows_per_second' ORDER BY step"
        ).fetchall()
    assert len({point[:3] for point in points}) == len(points)
    return {(name, key): value for name, key, _, value in points if not math.isnan(value)}


def make(path: Path, state: str) -> None:
    """Create a folder in this state at `path`, or something else in its place."""
    match state:
        case "fine" | "read-only" | "unreadable":
            path.mkdir()
            path.chmod({"fine": 0o755, "read-only": 0o555, "unreadable": 0o000}[state])
        case "a file":
            path.write_text("")
        case "a link":
            (path.parent / f"{path.name} target").mkdir()
            path.symlink_to(f"{path.name} target")
        case "a dangling link":
            path.symlink_to("nowhere")
        case "a loop":
            path.symlink_to(path.name)


def mend(path: Path) -> None:
    """Turn whatever is at `path` into a usable folder."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    path.mkdir(exist_ok=True)
    path.chmod(0o755)


def check(answer: Answer, database: Path, expected: dict[tuple[str, str], float]) -> None:
    """Check that a sweep succeeded with the right numbers, or was rejected with a one-line message."""
    assert answer.is_plain, answer
    if answer.code == 0:
        assert numbers(database) == expected


@settings(EXAMPLES, max_examples=10)
@given(name=NAMES, file=NAMES, is_quoted=st.booleans())
def test_any_name_of_the_folder_and_the_file_works(
    warm: Warm, expected: dict[tuple[str, str], float], name: str, file: str, is_quoted: bool
) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, name)
        folder.mkdir()
        (folder / f"{file}.csv").write_text(ROWS)
        # In Hydra's quoted strings, backslashes are escaped only in front of quotes.
        quoted = re.sub(r'(\\*)"', r'\1\1\\"', f"{file}.csv")
        path = f'data.path="{quoted}"' if is_quoted else f"data.path={file}.csv"
        answer = run(warm, folder, *WORDS, path)
        if answer.code and not is_quoted:  # Hydra's grammar has special characters.
            assert answer.is_plain, answer
            answer = run(warm, folder, *WORDS, f'data.path="{quoted}"')
        assert answer.code == 0, answer
        assert numbers(folder / "mlflow.db") == expected
        assert [path.name for path in Path(parent).iterdir()] == [name]
        assert run(warm, folder, "compare").code == 0


@settings(EXAMPLES, max_examples=15)
@given(
    states=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("cache", "store", "TMPDIR", "HOME", "multirun", "mlartifacts"), STATES)
    ),
    gone=st.sets(st.sampled_from(["HOME", "USER", "LOGNAME", "PATH", "LANG", "TMPDIR"])),
)
def test_a_bad_place_is_reported_and_fixed_places_work(
    warm: Warm, expected: dict[tuple[str, str], float], states: dict[str, str], gone: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder, places = Path(parent, "work"), Path(parent, "places")
        folder.mkdir()
        places.mkdir()
        (folder / "some.csv").write_text(ROWS)
        paths = {name: (folder if name in ("multirun", "mlartifacts") else places) / name for name in states}
        for name, state in states.items():
            make(paths[name], state)
        env: dict[str, str | None] = dict.fromkeys(gone)
        env |= {name: str(path) for name, path in paths.items() if name in ("TMPDIR", "HOME")}
        words = [*WORDS, "data.path=some.csv"]
        words += [f"runtime.cache={paths['cache']}"] if "cache" in paths else []
        words += [f"tracking.uri=sqlite:///{paths['store']}/mlflow.db"] if "store" in paths else []
        database = paths.get("store", folder) / "mlflow.db"
        try:
            first = run(warm, folder, *words, environment=env, obeys_permissions=True)
        finally:
            for path in paths.values():
                path.chmod(0o755) if path.is_dir() else None
        check(first, database, expected)
        for path in paths.values() if first.code else ():
            if states[path.name] != "a link":
                mend(path)
        second = run(warm, folder, *words, environment=env)
        assert second.code == 0, (first, second)
        assert numbers(database) == expected


@pytest.mark.parametrize(
    "limits",
    [{"RLIMIT_NOFILE": 48}, {"RLIMIT_FSIZE": 4096}, {"RLIMIT_FSIZE": 300_000}, {"RLIMIT_FSIZE": 3_000_000}],
    ids=str,
)
def test_a_resource_that_runs_out_is_named_and_the_next_command_works(
    warm: Warm, expected: dict[tuple[str, str], float], tmp_path: Path, limits: dict[str, int]
) -> None:
    (tmp_path / "some.csv").write_text(ROWS)
    first = run(warm, tmp_path, *WORDS, "data.path=some.csv", limits=limits)
    check(first, tmp_path / "mlflow.db", expected)
    second = run(warm, tmp_path, *WORDS, "data.path=some.csv")
    assert second.code == 0, (first, second)
    assert numbers(tmp_path / "mlflow.db") == expected
