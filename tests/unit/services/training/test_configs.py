import pytest

from services.training.configs import configs_of
from shared.contracts.admin import TrainingCreate
from shared.errors import InvalidInputError
from shared.modeling.base_source import BaseKind
from shared.modeling.quantizer_config import RQKMeansConfig
from shared.settings import TrainingSettings

CPU = TrainingSettings(device="cpu", seed=7, max_history=20)


def test_what_a_request_leaves_out_comes_from_the_settings():
    configs = configs_of(TrainingCreate(), CPU)
    assert configs.seed == 7
    assert (configs.collaborative.seed, configs.quantizer.seed, configs.ranker.seed) == (7, 7, 7)
    assert (configs.collaborative.max_length, configs.ranker.max_history) == (20, 20)
    assert configs.base.kind == BaseKind.TINY
    assert configs.quantizer.dimension == configs.base.tiny.hidden_size
    assert configs.ranker.device == "cpu"


def test_a_request_wins_over_the_settings_also_in_nested_configs():
    request = TrainingCreate(
        seed=3,
        collaborative={"dimension": 32},
        quantizer={"levels": 2, "codebook_size": 16},
        ranker={"lora": {"rank": 4}, "loss": "bce", "tiny": {"hidden_size": 32}},
    )
    configs = configs_of(request, CPU)
    assert configs.collaborative.dimension == 32
    assert (configs.quantizer.levels, configs.quantizer.codebook_size) == (2, 16)
    assert (configs.ranker.lora.rank, configs.ranker.lora.alpha) == (4, 16)
    assert configs.ranker.loss == "bce"
    assert configs.quantizer.dimension == configs.base.tiny.hidden_size == 32
    assert configs.ranker.seed == 3


def test_a_request_may_choose_the_kind_of_quantizer():
    request = TrainingCreate(seed=3, quantizer={"kind": "rq_kmeans", "levels": 3})
    configs = configs_of(request, CPU)
    assert configs.quantizer == RQKMeansConfig(
        dimension=configs.base.tiny.hidden_size, levels=3, seed=3
    )
    assert configs.as_dict()["quantizer"]["kind"] == "rq_kmeans"


@pytest.mark.parametrize(
    ("request_fields", "field", "cause"),
    [
        ({"collaborative": {"dimensions": 64}}, "collaborative.dimensions", "no setting"),
        ({"collaborative": {"dropout": 2.0}}, "collaborative.dropout", r"in \[0, 1\)"),
        ({"quantizer": {"epochs": "many"}}, "quantizer.epochs", "integer"),
        ({"quantizer": {"dimension": 64}}, "quantizer.dimension", "base model"),
        ({"quantizer": {"kind": "vq"}}, "quantizer.kind", "mm_rq_vae, rq_kmeans"),
        ({"quantizer": {"kind": "rq_kmeans", "beta": 0}}, "quantizer.beta", "no setting"),
        ({"ranker": {"lora": {"ranks": 8}}}, "ranker.lora.ranks", "no setting"),
        ({"ranker": {"epochs": 0}}, "ranker.epochs", "at least 1"),
        ({"ranker": {"loss": "hinge"}}, "ranker.loss", "full"),
        ({"ranker": {"lora": {"dropout": 1.0}}}, "ranker.lora.dropout", r"in \[0, 1\)"),
        ({"ranker": {"tiny": {"layer": 1}}}, "ranker.tiny.layer", "no setting"),
        ({"ranker": {"tiny": {"heads": 0}}}, "ranker.tiny.heads", "at least 1"),
        ({"ranker": {"tiny": {"hidden_size": 7}}}, "ranker.tiny.hidden_size", "multiple"),
        ({"ranker": {"base_dtype": "int3"}}, "ranker.base_dtype", "none of float32"),
        ({"ranker": {"base_model": 5}}, "ranker.base_model", "name"),
    ],
)
def test_a_wrong_setting_is_named_with_its_cause(request_fields, field, cause):
    with pytest.raises(InvalidInputError, match=cause) as caught:
        configs_of(TrainingCreate(**request_fields), CPU)
    assert [problem.field for problem in caught.value.fields] == [field]


def test_a_pretrained_base_keeps_its_weights(tmp_path):
    from shared.modeling.base_model import write_tiny_llama
    from shared.modeling.base_source import TinyLlama

    spec = TinyLlama(hidden_size=16, intermediate_size=16, layers=1, heads=1)
    write_tiny_llama(tmp_path, spec)
    configs = configs_of(TrainingCreate(ranker={"base_model": str(tmp_path)}), CPU)
    assert configs.base.kind == BaseKind.CHECKPOINT
    assert configs.quantizer.dimension == 16
    assert not configs.ranker.train_base


def test_the_dtype_of_the_base_is_the_settings_unless_the_request_names_another():
    settings = CPU.model_copy(update={"base_dtype": "bfloat16"})
    assert configs_of(TrainingCreate(), settings).base.dtype == "bfloat16"
    request = TrainingCreate(ranker={"base_dtype": "float32"})
    assert configs_of(request, settings).base.dtype == "float32"
    with pytest.raises(InvalidInputError, match="dtype"):
        configs_of(TrainingCreate(ranker={"base_dtype": "int3"}), settings)
