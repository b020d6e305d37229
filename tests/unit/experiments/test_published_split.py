import gzip

import pytest

from experiments.catalogue import read_catalogue
from experiments.published_split import read_published_split
from experiments.settings import DataSettings
from shared.errors import InvalidInputError

TABLE = "user_id\titem_id\tposition\nu\t1\t2\nu\t2\t1\nv\t2\t1\n"
MAP = "theirs\titem_id\ttitle\n1\ta\tApple\n2\tb\tBread\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "split.tsv.gz").write_bytes(gzip.compress(TABLE.encode()))
    (tmp_path / "map.tsv").write_text(MAP)
    (tmp_path / "items.jsonl").write_text(
        "".join(f'{{"item_id": "{i}", "title": "Item {i}"}}\n' for i in "xabz")
    )
    return tmp_path


def test_a_table_gives_each_user_the_items_by_position(folder):
    users = read_published_split(folder / "split.tsv.gz", folder / "map.tsv")
    assert users == [["b", "a"], ["b"]]


def test_a_line_a_user_gives_its_items_in_order(tmp_path):
    (tmp_path / "split.txt").write_text("7 3 1 2\n9 2\n")
    assert read_published_split(tmp_path / "split.txt", None) == [["3", "1", "2"], ["2"]]


def test_the_catalogue_holds_just_the_items_of_the_split(folder):
    said = []
    settings = DataSettings(sequences="split.tsv.gz", item_map="map.tsv")
    catalogue = read_catalogue(folder, settings, said.append)
    assert [item.item_id for item in catalogue.items] == ["a", "b"]
    assert [rows.tolist() for rows in catalogue.sequences] == [[1, 0], [1]]
    assert said[-1].endswith("2 users, 2 items, 3 interactions")


def test_an_item_outside_the_map_is_named(folder):
    (folder / "map.tsv").write_text("theirs\titem_id\n1\ta\n")
    with pytest.raises(InvalidInputError, match=r"data.item_map.*the item 2"):
        read_published_split(folder / "split.tsv.gz", folder / "map.tsv")


def test_an_item_that_the_data_set_does_not_have_is_named(folder):
    (folder / "map.tsv").write_text("theirs\titem_id\n1\ta\n2\tqueen\n")
    with pytest.raises(InvalidInputError, match="queen"):
        read_catalogue(
            folder, DataSettings(sequences="split.tsv.gz", item_map="map.tsv"), lambda _: None
        )


@pytest.mark.parametrize("name", ["missing.tsv", "map.tsv"])
def test_a_file_of_another_form_is_named(folder, name):
    with pytest.raises(InvalidInputError, match=name):
        read_published_split(folder / name, None)
