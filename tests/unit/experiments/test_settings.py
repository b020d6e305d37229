from dataclasses import replace
from pathlib import Path

import pytest

import experiments
from experiments.methods.letter import LetterConfig
from experiments.methods.tiger import TigerConfig
from experiments.settings import read_settings
from shared.errors import InvalidInputError
from shared.modeling.base_source import TinyLlama
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.sasrec_config import SASRecConfig

SMALL = Path(experiments.__file__).parent / "small.yaml"
BEAUTY = SMALL.parent / "beauty.yaml"


def _written(folder, text):
    file = folder / "settings.yaml"
    file.write_text(text)
    return file


def test_the_small_profile_is_the_defaults():
    settings = read_settings(SMALL)
    assert settings.collaborative == SASRecConfig()
    assert settings.ranker == RankerConfig()
    assert settings.base.tiny == TinyLlama()
    assert settings.tiger == TigerConfig()
    assert settings.letter == LetterConfig()
    assert settings.quantizer.dimension == TinyLlama().hidden_size


def test_a_section_changes_what_it_names(tmp_path):
    file = _written(
        tmp_path, "ranker: {loss: bce, lora: {rank: 4}}\ntiny: {hidden_size: 32}\ndata: {core: 5}"
    )
    settings = read_settings(file)
    assert settings.ranker.loss == "bce"
    assert settings.ranker.lora.rank == 4
    assert settings.ranker.epochs == RankerConfig().epochs
    assert settings.quantizer.dimension == 32
    assert settings.data.core == 5


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("rankers: {}", "rankers"),
        ("ranker: {epoch: 3}", r"ranker\.epoch"),
        ("ranker: {epochs: many}", r"ranker\.epochs"),
        ("- a list", "settings"),
        ("a: [", "settings"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, text, field):
    with pytest.raises(InvalidInputError, match=field):
        read_settings(_written(tmp_path, text))


def test_a_file_is_like_another_but_for_what_it_names(tmp_path):
    (tmp_path / "shop.yaml").write_text("ranker: {epochs: 3, lora: {rank: 4}}\ndata: {core: 5}")
    settings = read_settings(
        _written(tmp_path, "like: shop.yaml\nranker: {lora: {alpha: 2}, batch_size: 7}")
    )
    assert (settings.ranker.epochs, settings.ranker.batch_size) == (3, 7)
    assert (settings.ranker.lora.rank, settings.ranker.lora.alpha) == (4, 2)
    assert settings.data.core == 5


def test_a_file_like_one_that_is_like_a_third_is_refused(tmp_path):
    (tmp_path / "shop.yaml").write_text("like: small.yaml")
    with pytest.raises(InvalidInputError, match="like"):
        read_settings(_written(tmp_path, "like: shop.yaml"))


def test_cold_items_are_all_that_beauty_cold_adds_to_beauty():
    cold, beauty = read_settings(SMALL.parent / "beauty_cold.yaml"), read_settings(BEAUTY)
    assert cold == replace(beauty, data=replace(beauty.data, cold_share=0.1))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match=r"absent\.yaml"):
        read_settings(tmp_path / "absent.yaml")
