from collections.abc import Callable
from pathlib import Path

import pytest

from shared.data.dataset import Dataset
from shared.data.opening import KINDS, open_dataset
from shared.errors import InvalidInputError

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"items.jsonl": "", "interactions.csv": "user_id,item_id\n"}, "folder"),
        ({"items.parquet": ""}, "folder"),
        ({"u.data": "", "u.item": ""}, "movielens"),
        ({"ratings.dat": "", "movies.dat": ""}, "movielens"),
        ({"ratings.csv": "", "movies.csv": ""}, "movielens"),
        ({"x.inter": "user_id:token\titem_id:token\n"}, "recbole"),
        ({"meta_X.json.gz": "", "X_5.json.gz": ""}, "amazon"),
        ({"meta_X.jsonl": "", "X.jsonl": ""}, "amazon"),
    ],
)
def test_the_kind_is_seen_from_the_files(
    write: Write, tmp_path: Path, files: dict[str, str], kind: str
) -> None:
    for name, content in files.items():
        write(name, content)
    dataset: Dataset = open_dataset(tmp_path)
    assert dataset.kind == kind
    assert open_dataset(tmp_path, kind).kind == kind


def test_the_synthetic_shop_needs_no_folder() -> None:
    assert open_dataset(Path("synthetic")).kind == "synthetic"
    assert open_dataset(Path("anywhere"), "synthetic").kind == "synthetic"


def test_a_folder_of_that_name_goes_before_the_shop(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("synthetic/items.jsonl", "")
    monkeypatch.chdir(tmp_path)
    assert open_dataset(Path("synthetic")).kind == "folder"


def test_an_unknown_folder_says_what_was_looked_for_and_found(write: Write, tmp_path: Path) -> None:
    write("notes.txt", "")
    write("images/1.jpg", "")
    with pytest.raises(InvalidInputError) as caught:
        open_dataset(tmp_path)
    assert caught.value.fields[0].field == "path"
    for word in ("items.(jsonl", "u.data", ".inter", "meta_", "Found images/, notes.txt"):
        assert word in caught.value.detail


def test_an_empty_folder_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="The folder is empty"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "synthetic"])
def test_a_kind_that_does_not_fit_the_folder_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InvalidInputError, match="holds no"):
        open_dataset(tmp_path, kind)


def test_a_missing_folder_a_file_and_an_unknown_kind_are_told_apart(
    write: Write, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        open_dataset(tmp_path / "gone")
    with pytest.raises(InvalidInputError, match="is a file"):
        open_dataset(write("a.csv", ""))
    with pytest.raises(InvalidInputError, match="'netflix' is none of folder"):
        open_dataset(tmp_path, "netflix")
