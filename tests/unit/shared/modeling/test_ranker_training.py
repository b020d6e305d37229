from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.errors import ConflictError, InvalidInputError
from shared.modeling.base_model import load_base
from shared.modeling.base_source import BaseSource, TinyLlama
from shared.modeling.evaluation import evaluate, popularity_scorer
from shared.modeling.modality import Modality
from shared.modeling.progress import Progress
from shared.modeling.ranker_config import LoraSpec, RankerConfig, RankerLoss
from shared.modeling.ranker_loss import alignment_loss, batch_loss
from shared.modeling.ranker_training import build_ranker, train_ranker
from shared.modeling.sasrec import SASRec, train_sasrec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequence_part import SequencePart
from shared.modeling.sequences import Split, item_frequency, leave_one_out
from shared.modeling.window_batches import batches_of

ITEMS, DIMENSION = 20, 16
SOURCE = BaseSource(tiny=TinyLlama(hidden_size=DIMENSION, intermediate_size=24, layers=1, heads=2))
CONFIG = RankerConfig(
    epochs=3, patience=3, batch_size=8, max_history=4, warm_up_steps=5,
    item_dropout=0.2, state_dropout=0.2, negatives=7, checkpoint_every=3,
)  # fmt: skip


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def split():
    """Everyone walks round the same circle of items, from a place of their own."""
    rng = np.random.default_rng(0)
    starts = rng.integers(ITEMS, size=60)
    lengths = rng.integers(5, 12, size=60)
    return leave_one_out(
        [(start + np.arange(length)) % ITEMS for start, length in zip(starts, lengths, strict=True)]
    )


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    modalities = (Modality.COLLABORATIVE, Modality.TEXT)
    return (
        {m: torch.randn(ITEMS, 6, generator=generator) for m in modalities},
        {m: torch.randint(4, (ITEMS, 2), generator=generator) for m in modalities},
        {m: torch.randn(2, 4, DIMENSION, generator=generator) for m in modalities},
    )


def _train(split, inputs, config=CONFIG, **options):
    return train_ranker(split, ITEMS, *inputs, SOURCE, config, **options)


def _weights(ranker):
    return dict(ranker.named_parameters())


def _assert_equal(ranker, other):
    others = _weights(other)
    for name, parameter in _weights(ranker).items():
        assert torch.equal(parameter, others[name]), name


@pytest.mark.parametrize("loss", list(RankerLoss))
def test_the_ranker_learns_a_circle_that_popularity_cannot_know(split, inputs, loss):
    config = replace(
        CONFIG,
        loss=loss,
        epochs=15,
        patience=15,
        learning_rate_base=0.003,
        learning_rate_new=0.003,
        item_dropout=0.0,
        state_dropout=0.0,
    )
    ranker = _train(split, inputs, config)
    histories, targets = split.test_histories(), split.test_target
    learned = evaluate(ranker.scorer(), histories, targets).unmasked["ndcg@5"]
    popular = evaluate(popularity_scorer(item_frequency(split, ITEMS)), histories, targets)
    assert learned > 0.8
    assert learned > popular.unmasked["ndcg@5"] + 0.3


def test_the_epoch_with_the_best_validation_is_returned(split, inputs):
    best = []
    config = replace(CONFIG, epochs=5, patience=2)

    def watch(progress):
        if "best" in progress.metrics:
            best.append(progress.metrics["best"])

    ranker = _train(split, inputs, config, on_progress=watch)
    validation = evaluate(
        ranker.scorer(), split.validation_histories(), split.validation_target
    ).masked["ndcg@10"]
    assert validation == pytest.approx(best[-1], abs=1e-9)
    assert best == sorted(best)


def test_progress_counts_up_to_its_total(split, inputs):
    seen: list[Progress] = []
    _train(split, inputs, on_progress=seen.append)
    done = [progress.done for progress in seen]
    assert done == sorted(done)
    assert {progress.stage for progress in seen} == {"finetune"}
    assert all(progress.done <= progress.total for progress in seen)
    assert all(np.isfinite(value) for progress in seen for value in progress.metrics.values())


def test_the_seed_decides_everything_and_the_random_state_is_left_alone(split, inputs):
    torch.manual_seed(1)
    first = _train(split, inputs)
    state = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(2), state)
    torch.manual_seed(2)
    _assert_equal(first, _train(split, inputs))
    other = _train(split, inputs, replace(CONFIG, seed=1))
    assert not torch.equal(first.fusion_head.target_table, other.fusion_head.target_table)


@pytest.mark.parametrize("stop_after", [2, 4, 11])
def test_a_resumed_run_ends_in_the_weights_of_an_unbroken_one(split, inputs, tmp_path, stop_after):
    """Stopped before any checkpoint, within an epoch, and in the second epoch."""
    unbroken = _train(split, inputs)
    calls = 0

    def stop(progress):
        nonlocal calls
        calls += 1
        if calls > stop_after:
            raise StoppedError

    with pytest.raises(StoppedError):
        _train(split, inputs, on_progress=stop, checkpoint_folder=tmp_path)
    resumed = _train(split, inputs, checkpoint_folder=tmp_path)
    _assert_equal(unbroken, resumed)


def test_a_finished_run_is_not_trained_again(split, inputs, tmp_path):
    first = _train(split, inputs, checkpoint_folder=tmp_path)
    calls = []
    again = _train(split, inputs, checkpoint_folder=tmp_path, on_progress=calls.append)
    assert calls == []
    _assert_equal(first, again)


def test_a_checkpoint_of_other_settings_or_data_is_refused(split, inputs, tmp_path):
    _train(split, inputs, checkpoint_folder=tmp_path)
    with pytest.raises(ConflictError, match="checkpoint_folder"):
        _train(split, inputs, replace(CONFIG, weight_decay=0.5), checkpoint_folder=tmp_path)
    shorter = Split(split.train[1:], split.validation_target[1:], split.test_target[1:])
    with pytest.raises(ConflictError, match="checkpoint_folder"):
        _train(shorter, inputs, checkpoint_folder=tmp_path)


def test_with_lora_alone_the_base_keeps_its_weights(split, inputs):
    config = replace(CONFIG, train_base=False, lora=LoraSpec(rank=2, alpha=4))
    ranker = _train(split, inputs, config)
    before = load_base(SOURCE).model.state_dict()
    after = ranker.language_model.get_base_model().state_dict()
    for name, tensor in after.items():
        if ".lora_" not in name:
            assert torch.equal(tensor, before[name.replace(".base_layer.", ".")]), name
    trained = [name for name, p in ranker.language_model.named_parameters() if p.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)


def test_the_loss_of_a_batch_is_that_of_every_prefix_alone(split, inputs):
    config = replace(CONFIG, item_dropout=0.0, state_dropout=0.0)
    ranker = build_ranker(split, ITEMS, *inputs, SOURCE, config).eval()
    windows = [items[:5] for items in split.train[:6]]
    losses = []
    for window in windows:
        for end in range(1, len(window)):
            scores = ranker.score([window[:end]])
            losses.append(
                torch.nn.functional.cross_entropy(scores, torch.tensor(window[end : end + 1]))
            )
    (batch,) = batches_of(windows, 6, np.random.default_rng(0))
    torch.testing.assert_close(
        batch_loss(ranker, batch, config), torch.stack(losses).mean(), rtol=1e-4, atol=1e-5
    )


def test_a_dimension_other_than_the_base_models_is_named(split, inputs):
    embeddings, codes, tables = inputs
    narrow = {m: table[..., :8] for m, table in tables.items()}
    with pytest.raises(InvalidInputError, match="code_embeddings"):
        _train(split, (embeddings, codes, narrow))


def test_sequences_that_cannot_be_learned_from_are_named(split, inputs):
    alone = leave_one_out([np.array([1]), np.array([2])])
    with pytest.raises(InvalidInputError, match=r"split\.train"):
        _train(alone, inputs)
    unvalidated = replace(split, validation_target=np.full_like(split.validation_target, -1))
    with pytest.raises(InvalidInputError, match=r"split\.validation_target"):
        _train(unvalidated, inputs)


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"item_dropout": 1.0}, {"negatives": 0}])
def test_a_setting_out_of_range_is_named(setting):
    with pytest.raises(InvalidInputError, match=next(iter(setting))):
        RankerConfig(**setting)


def test_without_fusion_only_the_target_table_scores(split, inputs):
    ranker = _train(split, inputs, replace(CONFIG, epochs=1), fused=False)
    state = ranker.hidden_states([np.array([1, 2])])
    torch.testing.assert_close(
        ranker.score([np.array([1, 2])]), state @ ranker.fusion_head.target_table.T
    )


def test_alignment_draws_the_projections_of_an_item_together(split, inputs):
    def loss_after(alignment):
        config = replace(CONFIG, alignment=alignment, learning_rate_new=0.01)
        ranker = _train(split, inputs, config)
        generator = np.random.default_rng(0)
        batch = batches_of([items for items in split.train if len(items) > 1], 60, generator)[0]
        with torch.no_grad():
            return float(alignment_loss(ranker.item_encoder, batch, 0.1))

    assert loss_after(1.0) < 0.8 * loss_after(0.0)


def test_alignment_needs_the_collaborative_modality(split, inputs):
    text_alone = tuple({Modality.TEXT: tables[Modality.TEXT]} for tables in inputs)
    with pytest.raises(InvalidInputError, match="alignment"):
        _train(split, text_alone, replace(CONFIG, alignment=0.1))


def test_a_checkpoint_of_another_form_is_refused(split, inputs, tmp_path):
    _train(split, inputs, replace(CONFIG, epochs=1), checkpoint_folder=tmp_path)
    with pytest.raises(ConflictError):
        _train(split, inputs, replace(CONFIG, epochs=1), fused=False, checkpoint_folder=tmp_path)


@pytest.fixture(scope="module")
def split_with_a_cold_item(split):
    """The same walks, without item 7: nobody met it."""
    without = [items[items != 7] for items in split.train]
    return Split(without, np.where(split.validation_target == 7, -1, split.validation_target),
                 split.test_target)  # fmt: skip


@pytest.mark.parametrize("loss", list(RankerLoss))
def test_an_item_that_nobody_met_is_no_negative(split_with_a_cold_item, inputs, loss):
    split = split_with_a_cold_item
    config = replace(CONFIG, loss=loss)
    ranker = build_ranker(split, ITEMS, *inputs, SOURCE, config).train()
    generator = np.random.default_rng(0)
    (batch,) = batches_of([items for items in split.train if len(items) > 1][:8], 8, generator)
    torch.autograd.backward(batch_loss(ranker, batch, config))
    gradient = ranker.fusion_head.target_table.grad
    assert gradient[7].eq(0).all()
    assert gradient[6].ne(0).any()


def test_its_target_embedding_is_that_of_the_items_most_like_it(split_with_a_cold_item, inputs):
    embeddings, codes, tables = inputs
    twin = {m: table.clone() for m, table in embeddings.items()}
    twin[Modality.TEXT][:] = torch.eye(ITEMS)[:, :6] + 1e-3
    twin[Modality.TEXT][7] = twin[Modality.TEXT][3]
    ranker = _train(split_with_a_cold_item, (twin, codes, tables), replace(CONFIG, epochs=1))
    table = ranker.fusion_head.target_table.detach()
    closeness = torch.nn.functional.cosine_similarity(table[7], table)
    closeness[7] = -1
    assert closeness.argmax() == 3


@pytest.fixture(scope="module")
def sasrec(split):
    return train_sasrec(split, ITEMS, SASRecConfig(dimension=8, feedforward=16, epochs=30))


def test_the_weight_of_sasrec_is_the_best_one_on_validation(split, inputs, sasrec):
    config = replace(CONFIG, epochs=1, sequence_weights=(0.01, 1.0, 3.0))
    ranker = _train(split, inputs, config, sequence=sasrec)
    items = sasrec.collaborative_embeddings()

    def quality(weight):
        ranker.sequence_part = SequencePart.of(sasrec, items, weight) if weight else None
        targets = split.validation_target
        found = evaluate(ranker.scorer(), split.validation_histories(), targets)
        return found.masked["ndcg@10"]

    chosen = ranker.sequence_part.weight
    qualities = {weight: quality(weight) for weight in (0, 0.01, 1.0, 3.0)}
    assert qualities[chosen] == max(qualities.values()) > qualities[0]


def test_a_sasrec_that_does_not_help_takes_no_part(split, inputs, sasrec):
    untrained = SASRec(ITEMS, sasrec.config)
    config = replace(CONFIG, epochs=8, sequence_weights=(100.0,))
    assert _train(split, inputs, config, sequence=untrained).sequence_part is None


def test_items_that_sasrec_never_met_have_rows_like_the_items_most_like_them(
    split_with_a_cold_item, inputs, sasrec
):
    config = replace(CONFIG, epochs=1, sequence_weights=(1.0,))
    part = _train(split_with_a_cold_item, inputs, config, sequence=sasrec).sequence_part
    own = sasrec.collaborative_embeddings()
    warm = torch.arange(ITEMS) != 7
    assert torch.equal(part.items[warm], own[warm])
    assert not torch.allclose(part.items[7], own[7])


def test_weights_for_a_sasrec_that_is_not_there_or_of_other_items_are_refused(
    split, inputs, sasrec
):
    config = replace(CONFIG, sequence_weights=(1.0,))
    with pytest.raises(InvalidInputError, match="sequence_weights"):
        _train(split, inputs, config)
    with pytest.raises(InvalidInputError, match=f"of the {ITEMS} items"):
        _train(split, inputs, config, sequence=SASRec(ITEMS + 1, sasrec.config))
    with pytest.raises(InvalidInputError, match="sequence_weights"):
        replace(CONFIG, sequence_weights=(0.0,))


def test_learning_rates_fall_over_all_epochs(split, inputs):
    rates: list[float] = []

    class Watched(torch.optim.AdamW):
        def step(self, *arguments, **options):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watched)
        _train(split, inputs, replace(CONFIG, schedule="linear", warm_up_steps=1))
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == CONFIG.learning_rate_base
    assert rates[-1] < 0.1 * rates[0]


@pytest.fixture(scope="module")
def start(split, inputs):
    """The weights of a ranker that was trained before."""
    config = replace(CONFIG, epochs=15, patience=15, item_dropout=0.0, state_dropout=0.0, seed=4)
    parent = _train(split, inputs, config)
    return {name: p.detach().clone() for name, p in parent.named_parameters()}


def test_a_warm_start_is_validated_before_its_first_step(split, inputs, start):
    first = []

    def watch(progress):
        first.append(progress)
        raise StoppedError

    with pytest.raises(StoppedError):
        _train(split, inputs, start=start, on_progress=watch)
    parent = build_ranker(split, ITEMS, *inputs, SOURCE, CONFIG, start=start).eval()
    validation = evaluate(
        parent.scorer(), split.validation_histories(), split.validation_target
    ).masked["ndcg@10"]
    assert first[0].done == 0
    assert first[0].metrics["ndcg@10"] == pytest.approx(validation, abs=1e-9)


def test_a_warm_start_that_training_only_harms_is_returned_as_it_was(split, inputs, start):
    harmful = replace(CONFIG, learning_rate_base=1.0, learning_rate_new=1.0, warm_up_steps=1)
    ranker = _train(split, inputs, harmful, start=start)
    for name, parameter in _weights(ranker).items():
        assert torch.equal(parameter, start[name]), name


@pytest.mark.parametrize("stop_after", [1, 5, 12])
def test_a_resumed_warm_start_ends_in_the_weights_of_an_unbroken_one(
    split, inputs, start, tmp_path, stop_after
):
    """Stopped after its first validation, within an epoch, and in the second epoch."""
    unbroken = _train(split, inputs, start=start)
    calls = 0

    def stop(progress):
        nonlocal calls
        calls += 1
        if calls > stop_after:
            raise StoppedError

    with pytest.raises(StoppedError):
        _train(split, inputs, start=start, on_progress=stop, checkpoint_folder=tmp_path)
    resumed = _train(split, inputs, start=start, checkpoint_folder=tmp_path)
    _assert_equal(unbroken, resumed)


def test_a_checkpoint_of_another_start_is_refused(split, inputs, start, tmp_path):
    config = replace(CONFIG, epochs=1)
    _train(split, inputs, config, start=start, checkpoint_folder=tmp_path)
    other = {name: weight + 1 for name, weight in start.items()}
    for changed in (None, other):
        with pytest.raises(ConflictError):
            _train(split, inputs, config, start=changed, checkpoint_folder=tmp_path)
