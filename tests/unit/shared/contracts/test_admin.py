import pytest
from pydantic import ValidationError

from shared.contracts.admin import TrainingCreate


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"stages": None},
        {"stages": ["finetune"]},
        {"stages": ["sequence", "finetune"], "start": "cold"},
        {"stages": ["collaborative", "finetune"], "start": "warm"},
        {"stages": ["collaborative", "quantize", "finetune"], "start": "cold"},
    ],
)
def test_a_training_may_make_some_stages_anew(request_):
    assert TrainingCreate(**request_).stages == request_.get("stages")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"stages": []}, "must name finetune"),
        ({"stages": ["quantize"]}, "must name finetune"),
        ({"stages": ["finetune", "finetune"]}, "twice"),
        ({"stages": ["quantize", "finetune"], "start": "warm"}, "keeps the tokenizer"),
        ({"stages": ["collaborative", "finetune"], "start": "cold"}, "must name quantize"),
        ({"stages": ["publish", "finetune"]}, "'quantize' or 'finetune'"),
    ],
)
def test_stages_that_make_no_sense_together_are_refused_and_named(request_, message):
    with pytest.raises(ValidationError, match=message) as raised:
        TrainingCreate(**request_)
    assert raised.value.errors()[0]["loc"][0] == "stages"


def test_a_start_that_is_not_known_is_named():
    with pytest.raises(ValidationError) as raised:
        TrainingCreate(start="hot")
    assert raised.value.errors()[0]["loc"] == ("start",)
