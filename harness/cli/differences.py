"""Lists differences in data, packages, commits, uncommitted changes and the model's source from a run's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.runtime.secrets import masked_patch
from harness.sweep.code_version import commits, packages, patches, versions
from harness.sweep.identity import signature
from harness.tracking.frames import datasets

if TYPE_CHECKING:
    from mlflow.entities import Run

    from harness.sweep import plan


def differ(what: str, recorded: object, here: object) -> list[str]:
    """Return a line if the recorded value differs from the current one."""
    return [] if recorded == here else [f"{what}: {recorded or 'none'} recorded, {here or 'none'} here"]


def data(ready: plan.Run, run: Run) -> list[str]:
    """Compare the digest of the data."""
    return differ("digest of the data", _digest(run), ready.table.digest)


def code(ready: plan.Run, run: Run, recorded: Mapping[str, str]) -> Iterator[str]:
    """Compare packages, commits, uncommitted changes, configuration and model; `recorded` holds the recorded files."""
    targets = [*ready.config.targets.values()]
    then, now = versions(recorded.get("packages.txt", "")), versions(packages())
    for name in {**then, **now}:
        yield from differ(name, then.get(name), now.get(name))
    then, now = versions(recorded.get("commits.txt", "")), versions(commits(targets))
    for name in {**then, **now}:
        yield from differ(f"commit of {name}", then.get(name), now.get(name))
    changes = {name: masked_patch(text) for name, text in patches(targets).items()}
    for name in sorted({name for name in recorded if name.endswith(".patch")} | changes.keys()):
        what = name.removesuffix(".patch").replace("-", " changes of ", 1)
        if (before := recorded.get(name)) != (after := changes.get(name)):
            yield f"{what}: {_lines(before)} recorded, {_lines(after)} here"
    # If the data is the same, only the configuration and the source of a user's model can differ.
    here = signature(ready.config, replace(ready.table, digest=_digest(run)))
    yield from differ(f"signature, which covers the source of {targets[0]}", run.data.tags.get("signature"), here)


def _digest(run: Run) -> str:
    return next((known["digest"] for known in datasets([run])), "")


def _lines(patch: str | None) -> str:
    return f"a patch of {len(patch.splitlines()):,} lines" if patch else "none"
