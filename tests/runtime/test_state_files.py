"""State files are trusted only if they are complete, of the expected kind, and owned by this user."""

import errno
import os
import resource
import threading
from dataclasses import dataclass

import pytest
from pydantic import TypeAdapter

from harness.runtime.state_files import (
    StateError,
    check_own_folder,
    read_json,
    read_state,
    set_aside,
    write_json,
    write_state,
)


@dataclass(frozen=True)
class Note:
    name: str
    values: tuple[float, ...]


NOTE = TypeAdapter(Note)


def test_content_comes_back(tmp_path):
    write_state(tmp_path / "a", "note 1", b"\x00\n\xff" * 1000)
    write_json(tmp_path / "b", "note 1", {"name": "é", "values": [1.5, 2.0]})

    assert read_state(tmp_path / "a", "note 1") == b"\x00\n\xff" * 1000
    assert read_json(tmp_path / "b", "note 1", NOTE) == Note("é", (1.5, 2.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_every_damaged_byte_is_noticed(tmp_path):
    path = tmp_path / "state"
    write_json(path, "note 1", {"name": "a", "values": [1.5]})
    whole = path.read_bytes()

    for index in range(len(whole)):
        for damaged in (whole[:index], whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(StateError, match=r"is damaged|another version"):
                read_json(path, "note 1", NOTE)


@pytest.mark.parametrize("content", [{}, {"name": 1, "values": []}, {"name": "a", "values": ["1"]}, []])
def test_fields_and_types_are_checked(tmp_path, content):
    write_json(tmp_path / "state", "note 1", content)

    with pytest.raises(StateError, match="does not have the expected fields"):
        read_json(tmp_path / "state", "note 1", NOTE)


def test_other_kinds_and_versions_are_refused(tmp_path):
    write_state(tmp_path / "state", "note 1", b"")

    with pytest.raises(StateError, match="another version"):
        read_state(tmp_path / "state", "note 2")


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_only_regular_files_are_read(tmp_path, kind):
    write_state(tmp_path / "state", "note 1", b"")
    path = tmp_path / "other"
    {"link": lambda: path.symlink_to("state"), "folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()

    with pytest.raises(StateError, match="symbolic link" if kind == "link" else "not a regular file"):
        read_state(path, "note 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give files away")
def test_files_and_folders_of_other_users_are_refused(tmp_path):
    write_state(tmp_path / "state", "note 1", b"")
    os.chown(tmp_path / "state", 12345, -1)
    with pytest.raises(StateError, match="belongs to another user"):
        read_state(tmp_path / "state", "note 1")

    check_own_folder(tmp_path)
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(StateError, match="belongs to another user"):
        check_own_folder(tmp_path)


def test_folders_that_others_can_write_to_are_refused(tmp_path):
    tmp_path.chmod(0o777)

    with pytest.raises(StateError, match="Other users can write"):
        check_own_folder(tmp_path)


def test_a_damaged_file_is_set_aside(tmp_path):
    for content in (b"1", b"2"):
        (tmp_path / "state").write_bytes(content)
        assert set_aside(tmp_path / "state").read_bytes() == content

    assert [path.name for path in tmp_path.iterdir()] == ["state.damaged"]


def test_folders_and_files_set_aside_replace_each_other(tmp_path):
    path = tmp_path / "state"
    for make in (path.touch, path.mkdir, path.mkdir, path.touch):
        make()
        set_aside(path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["state.damaged"]


def test_links_in_place_of_the_temporary_file_are_not_followed(tmp_path):
    (tmp_path / "other").write_bytes(b"kept")
    (tmp_path / f".state.{os.getpid()}.{threading.get_ident()}").symlink_to("other")

    write_state(tmp_path / "state", "note 1", b"content")

    assert (tmp_path / "other").read_bytes() == b"kept"
    assert read_state(tmp_path / "state", "note 1") == b"content"


@pytest.mark.parametrize("durable", [True, False])
def test_only_durable_files_are_synced(tmp_path, monkeypatch, durable):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)

    write_state(tmp_path / "state", "note 1", b"content", durable=durable)

    assert bool(synced) is durable
    assert read_state(tmp_path / "state", "note 1") == b"content"


def test_a_lack_of_descriptors_says_nothing_about_a_file(tmp_path):
    write_state(tmp_path / "state", "note 1", b"content")
    _, most = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        with pytest.raises(OSError, match="Too many open files") as refusal:
            read_state(tmp_path / "state", "note 1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert refusal.value.errno == errno.EMFILE
    assert read_state(tmp_path / "state", "note 1") == b"content"
