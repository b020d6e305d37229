"""From a folder to its data set: which kind is it?"""

from collections.abc import Callable
from pathlib import Path

from shared.data import amazon, folder, movielens, recbole
from shared.data.dataset import Dataset
from shared.data.synthetic import SyntheticShop
from shared.errors import InvalidInputError

SYNTHETIC = "synthetic"

_OPENERS: dict[str, Callable[[Path], Dataset]] = {
    "folder": folder.FolderDataset,
    "movielens": movielens.MovieLensDataset,
    "recbole": recbole.RecBoleDataset,
    "amazon": amazon.AmazonDataset,
}
_LOOKED_FOR = {
    "folder": folder.LOOKED_FOR,
    "movielens": movielens.LOOKED_FOR,
    "recbole": recbole.LOOKED_FOR,
    "amazon": amazon.LOOKED_FOR,
}
KINDS = (*_OPENERS, SYNTHETIC)
_SHOWN_NAMES = 12


def open_dataset(path: Path, kind: str | None = None) -> Dataset:
    """The data set at `path`, of the kind given or of the kind its files show.

    The path `synthetic`, where no such folder exists, and the kind `synthetic` mean the shop that
    is made up on the spot (`SyntheticShop` with its defaults).

    Raises:
        InvalidInputError: unknown kind, no such folder, or nothing in it that is known. It says
            what was looked for and what was found.
    """
    if kind is not None and kind not in KINDS:
        raise InvalidInputError.of("kind", f"{kind!r} is none of {', '.join(KINDS)}")
    if kind == SYNTHETIC or (kind is None and str(path) == SYNTHETIC and not path.exists()):
        return SyntheticShop()
    if not path.is_dir():
        cause = "is a file, not a folder" if path.exists() else "does not exist"
        raise InvalidInputError.of("path", f"{path} {cause}")
    if kind is None:
        kind = detect_kind(path)
    if kind is None:
        listed = "; ".join(f"{name}: {text}" for name, text in _LOOKED_FOR.items())
        raise InvalidInputError.of(
            "path", f"{path} is no data set of a known kind. Looked for {listed}. {_found(path)}"
        )
    return _OPENERS[kind](path)


def detect_kind(path: Path) -> str | None:
    """The first kind whose files lie in the folder, in the order of `KINDS`; None if there is none.

    Raises:
        InvalidInputError: the files fit a kind more than once.
    """
    if folder.find_table(path, "items") is not None:
        return "folder"
    if movielens.find_layout(path) is not None:
        return "movielens"
    if recbole.find_interactions(path) is not None:
        return "recbole"
    if amazon.find_files(path) is not None:
        return "amazon"
    return None


def _found(path: Path) -> str:
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    if not names:
        return "The folder is empty."
    more = len(names) - _SHOWN_NAMES
    return f"Found {', '.join(names[:_SHOWN_NAMES])}{f' and {more} more' if more > 0 else ''}."
