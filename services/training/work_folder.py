"""The files of an unfinished run: a folder a stage, complete when its mark is there."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from shared.artifacts.store import ArtifactStore
from shared.contracts.admin import StageProgress

MARK = "done.json"
UNFINISHED = (".part", ".tmp")


def _copy(source: Path, target: Path) -> None:
    """The files of a folder, all but the mark, without taking their space twice where the disk can
    do so: what is written of a run is replaced as a whole, never changed."""
    for file in sorted(file for file in source.rglob("*") if file.is_file()):
        copy = target / file.relative_to(source)
        if file.name == MARK or file.suffix in UNFINISHED or copy.exists():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, copy)
        except OSError:
            part = copy.with_name(f"{copy.name}.part")
            shutil.copyfile(file, part)
            part.replace(copy)


def runs_path(catalog_id: str) -> str:
    return f"{catalog_id}/runs"


class WorkFolder:
    """`<catalogue>/runs/<run>/<stage>/` in the artifact store."""

    def __init__(self, store: ArtifactStore, catalog_id: str, run_id: UUID) -> None:
        self._store = store
        self._catalog_id = catalog_id
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

    def adopt(self, former_id: UUID, stages: Sequence[str]) -> list[str]:
        """Take over the stages that a run which is over has completed, up to the first that it has
        not, and the checkpoints of that one which lie on this machine. Returns the stages.

        May be repeated, wherever it was interrupted: a stage without its mark is taken over again.
        """
        former = WorkFolder(self._store, self._catalog_id, former_id)
        adopted: list[str] = []
        for stage in stages:
            if self.completed(stage) is not None:
                continue
            progress = former.completed(stage)
            if progress is None:
                if former.completed(stages[0]) is not None:
                    _copy(former.checkpoints(), self.checkpoints())
                break
            _copy(former.open(stage), self.begin(stage))
            self.complete(stage, progress)
            adopted.append(stage)
        return adopted

    def checkpoints(self) -> Path:
        """A folder of this machine that outlives the process, not the run."""
        return self._store.writable_folder(f"{self._path}/checkpoints")

    def remove_checkpoints(self) -> None:
        shutil.rmtree(self.checkpoints())
