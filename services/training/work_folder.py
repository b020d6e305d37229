"""The files of an unfinished run: a folder a stage, complete when its mark is there."""

import shutil
from pathlib import Path
from uuid import UUID

from shared.artifacts.store import ArtifactStore
from shared.contracts.admin import StageProgress

MARK = "done.json"


def runs_path(catalog_id: str) -> str:
    return f"{catalog_id}/runs"


class WorkFolder:
    """`<catalogue>/runs/<run>/<stage>/` in the artifact store."""

    def __init__(self, store: ArtifactStore, catalog_id: str, run_id: UUID) -> None:
        self._store = store
        self._path = f"{runs_path(catalog_id)}/{run_id}"

    def completed(self, stage: str) -> StageProgress | None:
        """How a stage ended, or None where it did not."""
        path = f"{self._path}/{stage}/{MARK}"
        if not self._store.exists(path):
            return None
        return StageProgress.model_validate_json(self._store.read(path))

    def begin(self, stage: str) -> Path:
        """An empty folder for a stage, whatever an earlier attempt left in it."""
        folder = self._store.writable_folder(f"{self._path}/{stage}")
        shutil.rmtree(folder)
        folder.mkdir()
        return folder

    def complete(self, stage: str, progress: StageProgress) -> None:
        """Keep a stage's files: the mark is written last."""
        path = f"{self._path}/{stage}"
        folder = self._store.writable_folder(path)
        (folder / f"{MARK}.part").write_text(progress.model_dump_json(indent=2))
        (folder / f"{MARK}.part").replace(folder / MARK)
        self._store.upload_folder(folder, path, last=MARK)

    def open(self, stage: str) -> Path:
        """The files of a completed stage. Raises NotFoundError where it is not complete."""
        return self._store.local_folder(f"{self._path}/{stage}")

    def checkpoints(self) -> Path:
        """A folder of this machine that outlives the process, not the run."""
        return self._store.writable_folder(f"{self._path}/checkpoints")

    def remove_checkpoints(self) -> None:
        shutil.rmtree(self.checkpoints())
