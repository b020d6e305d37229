import pytest

from shared.errors import InvalidInputError
from shared.modeling.ranker_config import RankerConfig
from shared.overriding import overridden


def test_overriding_leaves_the_original_alone():
    original = RankerConfig()
    assert overridden(original, {"epochs": 2}, "ranker").epochs == 2
    assert original == RankerConfig()


def test_a_nested_config_keeps_what_is_not_named():
    changed = overridden(RankerConfig(), {"lora": {"rank": 4}}, "ranker")
    assert (changed.lora.rank, changed.lora.alpha) == (4, RankerConfig().lora.alpha)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epoch": 2}, "ranker.epoch"),
        ({"epochs": "many"}, "ranker.epochs"),
        ({"epochs": 0}, "ranker.epochs"),
        ({"lora": {"size": 4}}, "ranker.lora.size"),
    ],
)
def test_what_cannot_be_set_is_named(changes, field):
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        overridden(RankerConfig(), changes, "ranker")
