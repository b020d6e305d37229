"""The same behaviour over a local folder and over a store that is not (fsspec's in memory)."""

from uuid import uuid4

import pytest

from shared.artifacts.store import ArtifactStore
from shared.errors import NotFoundError
from shared.settings import ArtifactSettings


@pytest.fixture(params=["local", "remote"])
def store(request, tmp_path) -> ArtifactStore:
    url = str(tmp_path / "store") if request.param == "local" else f"memory://{uuid4().hex}"
    return ArtifactStore(ArtifactSettings(url=url, cache=tmp_path / "cache"))


def test_a_file_is_read_back_and_can_be_replaced(store):
    store.write("shop/a/b.bin", b"one")
    store.write("shop/a/b.bin", b"two")
    assert store.read("shop/a/b.bin") == b"two"
    assert store.exists("shop/a/b.bin")
    assert store.list_folder("shop/a") == ["b.bin"]


def test_what_does_not_exist_is_said_to_be_missing(store):
    assert not store.exists("shop/nothing")
    assert store.list_folder("shop/nothing") == []
    with pytest.raises(NotFoundError):
        store.read("shop/nothing")
    with pytest.raises(NotFoundError):
        store.local_folder("shop/nothing")
    store.delete_folder("shop/nothing")


@pytest.mark.parametrize("path", ["../secret", "shop/../../secret", "/etc/passwd"])
def test_paths_cannot_leave_the_store(store, path):
    with pytest.raises(ValueError, match="inside the store"):
        store.read(path)


def test_a_folder_is_uploaded_with_the_named_file_last(store, tmp_path, monkeypatch):
    folder = tmp_path / "bundle"
    (folder / "z").mkdir(parents=True)
    for name in ("manifest.json", "a.txt", "z/deep.txt"):
        (folder / name).write_text(name)
    written: list[str] = []
    original = store.write
    monkeypatch.setattr(
        store, "write", lambda path, data: (written.append(path), original(path, data))
    )
    store.upload_folder(folder, "shop/b", last="manifest.json")
    assert written == ["shop/b/a.txt", "shop/b/z/deep.txt", "shop/b/manifest.json"]
    local = store.local_folder("shop/b")
    assert (local / "z" / "deep.txt").read_text() == "z/deep.txt"
    assert store.local_folder("shop/b") == local


def test_work_in_progress_is_stored_once_it_is_uploaded(store):
    folder = store.writable_folder("shop/work")
    (folder / "table.txt").write_text("rows")
    store.upload_folder(folder, "shop/work", last="table.txt")
    assert store.read("shop/work/table.txt") == b"rows"
    assert (store.local_folder("shop/work") / "table.txt").read_text() == "rows"


def test_a_deleted_folder_is_gone_from_the_store_and_from_the_cache(store):
    store.write("shop/b/file", b"x")
    store.local_folder("shop/b")
    store.delete_folder("shop/b")
    assert not store.exists("shop/b/file")
    with pytest.raises(NotFoundError):
        store.local_folder("shop/b")


def test_work_in_progress_goes_with_its_folder(store):
    folder = store.writable_folder("shop/runs/1")
    (folder / "checkpoint").write_bytes(b"large")
    store.upload_folder(folder, "shop/runs/1", last="checkpoint")

    store.delete_folder("shop/runs/1")

    assert not folder.exists()
    assert not store.exists("shop/runs/1/checkpoint")
