"""Commits and uncommitted changes of the code that a run was trained with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.sweep import code_version
from harness.tracking.records import from_line, to_line


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's repository with a model and another file, committed."""
    folder = tmp_path / "research"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "own_model.py").write_text("import late_helper\ndef build(inputs):\n    return 1\n")
    (folder / "helper.py").write_text("A = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "all")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_model", raising=False)
    monkeypatch.delitem(sys.modules, "new_model", raising=False)
    return folder


def own_patches(*targets: str) -> dict[str, str]:
    """The patches except that of the harness's own checkout, which may be in any state."""
    return {name: text for name, text in code_version.patches(targets).items() if "research" in name}


def test_committed_code_needs_no_patch(repository: Path) -> None:
    assert own_patches("own_model.build") == {}


def test_the_commit_of_a_models_repository_is_recorded(repository: Path) -> None:
    head = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert f"research=={head}" in code_version.commits(["own_model.build", "own_model.build"]).splitlines(keepends=True)
    assert "research" not in code_version.commits(["harness.models.linear"])


@pytest.mark.parametrize("name", ["c++", "proj (copy)", "a&b", "é" * 100])
def test_a_repository_may_have_any_name(
    name: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository.rename(tmp_path / name)
    (folder / "own_model.py").write_text("def build(inputs):\n    return 2\n")
    monkeypatch.syspath_prepend(folder)
    before = set(code_version.patches([]))
    (file,) = set(code_version.patches(["own_model.build"])) - before
    record = {"kind": "text", "run": "a", "text": "", "file": file}
    assert from_line(to_line(record)) == record
    label = file.removeprefix("uncommitted-").removesuffix(".patch")
    assert f"{label}==" in code_version.commits(["own_model.build"])


def test_applying_the_patch_to_the_commit_gives_the_code_that_ran(repository: Path, tmp_path: Path) -> None:
    (repository / "own_model.py").write_text("import late_helper\ndef build(inputs):\n    return 2\n")
    (repository / "late_helper.py").write_text("B = 2\n")
    (repository / "helper.py").write_text("A = 2\n")
    (repository / "new_model.py").write_text("def build(inputs):\n    return 3\n")
    (repository / "data.csv").write_text("not,code\n")
    (patch,) = own_patches("own_model.build", "new_model.build").values()
    (tmp_path / "changes.patch").write_text(patch)
    git(repository, "stash", "-q")
    (repository / "new_model.py").unlink()
    (repository / "late_helper.py").unlink()
    git(repository, "apply", str(tmp_path / "changes.patch"))
    assert (repository / "own_model.py").read_text() == "import late_helper\ndef build(inputs):\n    return 2\n"
    assert (repository / "late_helper.py").read_text() == "B = 2\n"
    assert (repository / "helper.py").read_text() == "A = 2\n"
    assert (repository / "new_model.py").read_text() == "def build(inputs):\n    return 3\n"
    assert "data.csv" not in patch


def test_files_of_secrets_are_left_out_of_a_patch_and_named(repository: Path, tmp_path: Path) -> None:
    secret = {".env": "A=CAN4RY", "conf/[a]*/id_rsa": "CAN4RY", "keys/b.pem": "CAN4RY", ".env.moved": "CAN4RY"}
    for name in [*secret, "helper.py"]:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("A = 1\n" * 20)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "secrets")
    for name, text in secret.items():
        (repository / name).write_text(text)
    (repository / ".env.moved").rename(repository / ".env.local")
    (repository / "helper.py").write_text("A = 2\n" * 20)
    git(repository, "add", ".")
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "color.ui", "always")
    (patch,) = own_patches("own_model.build").values()
    assert "CAN4RY" not in patch
    named = [*secret, ".env.local"]
    assert patch.splitlines()[:5] == [f"not recorded, because it may contain secrets: {name}" for name in sorted(named)]
    (tmp_path / "changes.patch").write_text(patch)
    git(repository, "reset", "-q", "--hard")
    git(repository, "apply", str(tmp_path / "changes.patch"))
    assert (repository / "helper.py").read_text() == "A = 2\n" * 20


def test_the_number_of_processes_does_not_grow_with_the_number_of_modules(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["ignored", "new", *(f"part{index}" for index in range(20))]
    for name in names:
        (repository / f"{name}.py").write_text("A = 1\n")
    (repository / ".gitignore").write_text("ignored.py\n")
    (repository / "own_model.py").write_text("".join(f"import {name}\n" for name in names))
    git(repository, "add", "--", ".", ":!new.py")
    git(repository, "commit", "-qm", "parts")
    run, calls = subprocess.run, []
    monkeypatch.setattr(subprocess, "run", lambda command, **more: calls.append(command) or run(command, **more))
    (patch,) = own_patches("own_model.build").values()
    assert "new.py" in patch
    assert "ignored.py" not in patch
    assert len([call for call in calls if str(repository) in map(str, call)]) <= 6


def test_a_model_outside_any_repository_has_no_patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lone_model.py").write_text("def build(inputs):\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert not any("lone_model" in patch for patch in code_version.patches(["lone_model.build"]).values())


def test_without_git_there_is_no_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert code_version.patches(["harness.models.linear"]) == {}
