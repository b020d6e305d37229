"""Settings of a large base model: what they spare, they do not take from the gradient."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.errors import InvalidInputError, UnavailableError
from shared.modeling.base_model import load_base, write_tiny_llama
from shared.modeling.base_source import BaseKind, BaseSource, TinyLlama
from shared.modeling.modality import Modality
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import TrainingStep, build_ranker, train_ranker
from shared.modeling.sequences import leave_one_out
from shared.modeling.training_processes import TrainingProcesses
from shared.modeling.window_batches import batches_of

ITEMS, DIMENSION = 12, 16
TINY = TinyLlama(hidden_size=DIMENSION, intermediate_size=24, layers=2, heads=2)
SOURCE = BaseSource(tiny=TINY)
PLAIN = RankerConfig(
    epochs=2, batch_size=16, max_history=8, warm_up_steps=2, item_dropout=0.0, state_dropout=0.0
)


@pytest.fixture(scope="module")
def split():
    return leave_one_out([(start + np.arange(4 + start % 5)) % ITEMS for start in range(13)])


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    return (
        {Modality.TEXT: torch.randn(ITEMS, 6, generator=generator)},
        {Modality.TEXT: torch.randint(4, (ITEMS, 2), generator=generator)},
        {Modality.TEXT: torch.randn(2, 4, DIMENSION, generator=generator)},
    )


@pytest.fixture(scope="module")
def gradients(split, inputs):
    """The gradients of one batch, of a ranker in training mode with one seed."""
    (batch,) = batches_of(split.train, 13, np.random.default_rng(0))

    def of(config, source=SOURCE):
        ranker = build_ranker(split, ITEMS, *inputs, source, config)
        step = TrainingStep(ranker, config).train()
        torch.manual_seed(0)
        for part in TrainingProcesses().parts(batch, config.gradient_accumulation):
            (step(part.batch) * part.share).backward()
        return {name: p.grad for name, p in ranker.named_parameters() if p.grad is not None}

    return of


def without_attention_dropout(source):
    return replace(source, tiny=replace(source.tiny, attention_dropout=0.0))


NO_LORA_DROPOUT = replace(PLAIN, lora=replace(PLAIN.lora, dropout=0.0))


def test_checkpointed_gradients_are_those_of_kept_activations(gradients):
    """With dropout: what is computed again draws the same."""
    config = replace(PLAIN, item_dropout=0.3, state_dropout=0.3)
    kept, checkpointed = (
        gradients(replace(config, gradient_checkpointing=on)) for on in (False, True)
    )
    assert kept.keys() == checkpointed.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-7)


def test_checkpointing_keeps_the_input_of_a_layer_and_not_what_is_inside(split, inputs):
    (batch,) = batches_of(split.train, 13, np.random.default_rng(0))

    def kept_numbers(checkpointing):
        config = replace(PLAIN, gradient_checkpointing=checkpointing)
        step = TrainingStep(build_ranker(split, ITEMS, *inputs, SOURCE, config), config).train()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            step(batch)
        return sum(sizes)

    assert kept_numbers(True) < kept_numbers(False) / 2


@pytest.mark.parametrize("parts", [2, 5, 20])
def test_accumulated_gradients_are_those_of_the_whole_batch(gradients, parts):
    """Also with more parts than there are windows."""
    source = without_attention_dropout(SOURCE)
    whole = gradients(NO_LORA_DROPOUT, source)
    accumulated = gradients(replace(NO_LORA_DROPOUT, gradient_accumulation=parts), source)
    for name, gradient in whole.items():
        torch.testing.assert_close(accumulated[name], gradient, rtol=1e-4, atol=1e-6)


def test_mixed_precision_changes_the_gradients_by_little(gradients):
    source = without_attention_dropout(SOURCE)
    exact = gradients(NO_LORA_DROPOUT, source)
    mixed = gradients(replace(NO_LORA_DROPOUT, precision="bfloat16"), source)
    for name, gradient in exact.items():
        assert mixed[name].dtype == gradient.dtype == torch.float32
    whole, near = (torch.cat([g.flatten() for g in each.values()]) for each in (exact, mixed))
    assert not torch.equal(whole, near)
    assert torch.nn.functional.cosine_similarity(whole, near, dim=0) > 0.999


def test_a_base_held_in_bfloat16_is_trained_beside_in_float32(split, inputs):
    config = replace(PLAIN, precision="bfloat16", train_base=False, gradient_checkpointing=True)
    ranker = train_ranker(split, ITEMS, *inputs, replace(SOURCE, dtype="bfloat16"), config)
    dtypes = {p.requires_grad: p.dtype for p in ranker.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    scores = ranker.score([np.array([1, 2])])
    assert torch.isfinite(scores).all()


def test_a_checkpoint_is_one_of_every_layout(split, inputs, tmp_path):
    """More parts, less memory: a run that ran out of it goes on."""
    train_ranker(split, ITEMS, *inputs, SOURCE, PLAIN, checkpoint_folder=tmp_path)
    other = replace(PLAIN, gradient_accumulation=2, gradient_checkpointing=True, sharded=True)
    reports = []
    train_ranker(split, ITEMS, *inputs, SOURCE, other, reports.append, checkpoint_folder=tmp_path)
    assert reports == []


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ({"precision": "float8"}, "ranker.precision"),
        ({"gradient_accumulation": 0}, "ranker.gradient_accumulation"),
        ({"four_bit": True, "train_base": True}, "ranker.four_bit"),
        ({"four_bit": True, "train_base": False, "sharded": True}, "ranker.four_bit"),
    ],
)
def test_a_setting_that_cannot_be_is_named(setting, field):
    with pytest.raises(InvalidInputError) as raised:
        RankerConfig(**setting)
    assert raised.value.fields[0].field == field


@pytest.fixture
def checkpoint(tmp_path):
    write_tiny_llama(tmp_path, TINY)
    return BaseSource(kind=BaseKind.CHECKPOINT, name=str(tmp_path))


def test_four_bits_without_their_package_are_refused_by_its_name(checkpoint, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    with pytest.raises(UnavailableError, match="bitsandbytes"):
        load_base(checkpoint, four_bit=True)


def test_four_bits_without_a_gpu_are_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match="GPU"):
        load_base(checkpoint, four_bit=True)


def test_only_a_checkpoint_is_held_in_four_bits():
    with pytest.raises(InvalidInputError, match="four_bit"):
        load_base(SOURCE, four_bit=True)


def test_a_ranker_is_saved_as_one_of_the_dense_base(split, inputs, checkpoint, tmp_path):
    """Whoever loads it needs to know nothing of how it was trained."""
    config = replace(PLAIN, train_base=False, gradient_checkpointing=True, precision="bfloat16")
    ranker = train_ranker(split, ITEMS, *inputs, checkpoint, config)
    ranker.save(tmp_path / "ranker")
    loaded = Ranker.load(tmp_path / "ranker")
    assert loaded.source == checkpoint
    assert loaded.autocast_dtype is None
    histories = [np.array([1, 2, 3])]
    torch.testing.assert_close(loaded.score(histories), ranker.score(histories), atol=2e-2, rtol=0)
