"""Names of encoders' states."""

from shared.modeling.encoders.revision import revision_of


def write(folder, **files):
    paths = []
    for name, text in files.items():
        paths.append(folder / name)
        paths[-1].write_text(text)
    return paths


def test_the_same_state_has_the_same_name_wherever_it_lies(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write(tmp_path / "a", weights="1", config="2")
    other = write(tmp_path / "b", config="2", weights="1")
    assert revision_of("x", one, {"size": 3}) == revision_of("x", other, {"size": 3})


def test_weights_preprocessing_and_name_all_show(tmp_path):
    paths = write(tmp_path, weights="1", config="2")
    before = revision_of("x", paths, {"size": 3})
    assert before.startswith("x-")
    assert revision_of("x", paths, {"size": 4}) != before
    assert revision_of("y", paths, {"size": 3}) != before
    write(tmp_path, weights="12")
    assert revision_of("x", paths, {"size": 3}) != before
