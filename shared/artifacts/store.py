"""The artifact store: a folder, or any fsspec URL such as `s3://bucket/mmesid`."""

import shutil
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from shared.errors import NotFoundError
from shared.settings import ArtifactSettings


class ArtifactStore:
    """Files by path, such as `default/bundles/20260101T000000-ab12/manifest.json`."""

    def __init__(self, settings: ArtifactSettings) -> None:
        # A listing that is kept does not show what other processes wrote since.
        self._fs, root = fsspec.core.url_to_fs(settings.url, use_listings_cache=False)
        self._root = str(root).rstrip("/")
        self._cache = settings.cache

    def write(self, path: str, data: bytes) -> None:
        """Store a file whole: a reader sees all of it or nothing."""
        target = self._at(path)
        self._fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        if self.is_local:
            part = Path(f"{target}.{uuid4().hex}.part")
            part.write_bytes(data)
            part.replace(target)
        else:
            self._fs.pipe_file(target, data)

    def read(self, path: str) -> bytes:
        """Raises NotFoundError where there is no such file."""
        try:
            data: bytes = self._fs.cat_file(self._at(path))
        except FileNotFoundError as error:
            raise NotFoundError(f"artifact {path} does not exist") from error
        return data

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self._at(path)))

    def list_folder(self, path: str) -> list[str]:
        """Names directly under a folder, sorted; empty where there is none."""
        target = self._at(path)
        if not self._fs.isdir(target):
            return []
        return sorted(PurePosixPath(entry).name for entry in self._fs.ls(target, detail=False))

    def upload_folder(self, folder: Path, path: str, *, last: str) -> None:
        """Store every file of a folder; the file named `last` after all others.

        A folder that lies at `path` already (see `writable_folder`) needs nothing.
        """
        if self.is_local and folder.resolve() == Path(self._at(path)).resolve():
            return
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix() == last):
            self.write(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def writable_folder(self, path: str) -> Path:
        """A folder of this machine for work in progress, made if missing.

        The store's own one where the store is local; else `upload_folder` brings it there.
        """
        folder = Path(self._at(path)) if self.is_local else self._unfinished(path)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def local_folder(self, path: str) -> Path:
        """The folder on this machine: the store's own, or a copy in the cache.

        Only for folders that never change once they are complete.

        Raises NotFoundError where there is no such folder.
        """
        if not self._fs.isdir(self._at(path)):
            raise NotFoundError(f"artifact folder {path} does not exist")
        if self.is_local:
            return Path(self._at(path))
        copy = self._cache / path
        if not copy.is_dir():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=copy.parent) as part:
                self._fs.get(self._at(path), f"{part}/copy", recursive=True)
                try:
                    Path(part, "copy").replace(copy)
                except OSError:
                    if not copy.is_dir():  # else another process was faster: its copy is the same
                        raise
        return copy

    def delete_folder(self, path: str) -> None:
        """Remove a folder, this machine's copy of it and work on it, where they exist."""
        for copy in (self._cache / path, self._unfinished(path)):
            shutil.rmtree(copy, ignore_errors=True)
        if self._fs.exists(self._at(path)):
            self._fs.rm(self._at(path), recursive=True)

    def _unfinished(self, path: str) -> Path:
        return self._cache / "unfinished" / path

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, LocalFileSystem)

    def _at(self, path: str) -> str:
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            raise ValueError(f"not a path inside the store: {path}")
        return f"{self._root}/{path}"
