"""The artifact store: a folder, or any fsspec URL such as `s3://bucket/mmesid`."""

from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from shared.errors import NotFoundError
from shared.settings import ArtifactSettings


class ArtifactStore:
    """Files by path, such as `default/bundles/20260101T000000-ab12/manifest.json`."""

    def __init__(self, settings: ArtifactSettings) -> None:
        self._fs, root = fsspec.core.url_to_fs(settings.url)
        self._root = str(root).rstrip("/")
        self._cache = settings.cache

    def write(self, path: str, data: bytes) -> None:
        """Store a file whole: a reader sees all of it or nothing."""
        target = self._at(path)
        self._fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        if self.is_local:
            part = f"{target}.part"
            self._fs.pipe_file(part, data)
            Path(part).replace(target)
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
        """Store every file of a folder; the file named `last` after all others."""
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix() == last):
            self.write(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def local_folder(self, path: str) -> Path:
        """The folder on this machine: the store's own, or a copy in the cache.

        Only for folders that never change once they are complete.
        """
        if self.is_local:
            folder = Path(self._at(path))
            if not folder.is_dir():
                raise NotFoundError(f"artifact folder {path} does not exist")
            return folder
        copy = self._cache / path
        if not copy.is_dir():
            part = copy.with_name(f"{copy.name}.part")
            self._fs.get(self._at(path), str(part), recursive=True)
            part.replace(copy)
        return copy

    def delete_folder(self, path: str) -> None:
        if self._fs.exists(self._at(path)):
            self._fs.rm(self._at(path), recursive=True)

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, LocalFileSystem)

    def _at(self, path: str) -> str:
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            raise ValueError(f"not a path inside the store: {path}")
        return f"{self._root}/{path}"
