from pathlib import Path

import pytest

import experiments
from experiments.methods.letter import LetterConfig
from experiments.methods.tiger import TigerConfig
from experiments.settings import read_settings
from shared.errors import InvalidInputError
from shared.modeling.base_model import TinyLlama
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.sasrec import SASRecConfig

SMALL = Path(experiments.__file__).parent / "small.yaml"


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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match=r"absent\.yaml"):
        read_settings(tmp_path / "absent.yaml")
