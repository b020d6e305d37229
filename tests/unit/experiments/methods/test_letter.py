from dataclasses import replace

import pytest
import torch

from experiments.methods.letter import (
    LetterConfig,
    diversity_loss,
    even_clusters,
    train_letter,
)
from shared.errors import InvalidInputError
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import MMRQVAEConfig
from shared.modeling.residual_quantizer import code_statistics, distances_and_codes

TEXT = Modality.TEXT
ITEMS, SIZE = 240, 16
QUICK = MMRQVAEConfig(
    dimension=8, levels=2, codebook_size=SIZE, hidden=16, epochs=2, batch_size=48,
    learning_rate=3e-3,
)  # fmt: skip
NONE = LetterConfig(collaborative=0.0, diversity=0.0, clusters=4)


def tables():
    """Text in six groups; who buys what, in five groups that cross them and tinge the text."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(ITEMS)
    collaborative = torch.randn(5, 8, generator=generator)[rows // 6 % 5]
    text = torch.randn(6, 12, generator=generator)[rows % 6] * 2
    text += 0.5 * collaborative @ torch.randn(8, 12, generator=generator)
    text += 0.3 * torch.randn(ITEMS, 12, generator=generator)
    return text, collaborative + 0.1 * torch.randn(ITEMS, 8, generator=generator)


def trained(config, quantizer=QUICK):
    """The RQ-VAE, and the last step's terms of the loss."""
    last = {}
    model = train_letter(*tables(), quantizer, config, lambda step: last.update(step.metrics))
    return model, last


def test_the_semantic_ids_are_those_of_the_text_alone():
    model, last = trained(NONE)
    assert model.modalities == (TEXT,)
    codes = model.codes({TEXT: tables()[0]})[TEXT]
    assert codes.shape == (ITEMS, 2)
    assert int(codes.max()) < SIZE
    assert set(last) == {"reconstruction", "quantization", "collaborative", "diversity"}


def test_the_diversity_loss_is_the_negative_log_share_of_the_partner():
    codebook = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [3.0, 3.0]])
    clusters = torch.tensor([0, 1, 1, 0])  # each code has exactly one partner
    codes = torch.tensor([0, 0, 2])
    diagonal = 2**-0.5
    zero = torch.tensor([0.0, -1.0, diagonal]) / 0.5  # of code 0 to 1, 2 and its partner 3
    two = torch.tensor([0.0, -1.0, -diagonal]) / 0.5  # of code 2 to its partner 1, and to 0 and 3
    expected = -(2 * zero.log_softmax(0)[2] + two.log_softmax(0)[0]) / 3
    torch.testing.assert_close(diversity_loss(codebook, codes, clusters, 0.5), expected)


def test_a_code_alone_in_its_cluster_does_not_count():
    codebook = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    clusters = torch.tensor([0, 0, 1])
    both = diversity_loss(codebook, torch.tensor([0, 2, 2]), clusters, 0.1)
    torch.testing.assert_close(both, diversity_loss(codebook, torch.tensor([0]), clusters, 0.1))
    assert diversity_loss(codebook, torch.tensor([2]), clusters, 0.1) == 0


def test_a_step_down_the_diversity_loss_goes_to_the_partner_and_away_from_the_others():
    codebook = torch.nn.Parameter(
        torch.nn.functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(2)))
    )
    clusters = torch.tensor([0, 0, 1, 1])
    torch.autograd.backward(diversity_loss(codebook, torch.tensor([0]), clusters, 0.1))
    moved = torch.nn.functional.normalize(codebook.detach() - 0.01 * codebook.grad)
    before, after = codebook.detach()[0] @ codebook.detach().T, moved[0] @ moved.T
    assert after[1] > before[1]
    assert torch.logsumexp(after[2:], 0) < torch.logsumexp(before[2:], 0)


def test_clusters_are_about_even_and_never_of_single_codes():
    codebook = torch.randn(32, 6, generator=torch.Generator().manual_seed(3))
    sizes = torch.bincount(even_clusters(codebook, 4, 10), minlength=4)
    assert sizes.sum() == 32
    assert int(sizes.min()) >= 4
    assert int(even_clusters(codebook[:4], 10, 10).max()) <= 1


def test_diversity_brings_the_codes_of_a_collapsed_codebook_back_into_use():
    def used(diversity, seed):
        """Codes that start side by side and away from the vectors, after 150 steps of Eq. 5."""
        torch.manual_seed(seed)
        vectors = torch.randn(400, 8)
        codebook = torch.nn.Parameter(3 * torch.randn(8) + 0.05 * torch.randn(SIZE, 8))
        optimizer = torch.optim.Adam([codebook], lr=0.02)
        for step in range(150):
            if step % 15 == 0:
                clusters = even_clusters(codebook.detach(), 4, 10)
            _, codes = distances_and_codes(vectors, codebook.detach())
            error = (vectors - codebook[codes]).square().mean()
            loss = error + diversity * diversity_loss(codebook, codes, clusters, 0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        _, codes = distances_and_codes(vectors, codebook.detach())
        statistics = code_statistics(codes.unsqueeze(1), SIZE)
        return statistics["dead_codes"][0], statistics["perplexity"][0]

    without, regularised = ([used(weight, seed) for seed in range(2)] for weight in (0.0, 0.01))
    for (dead_before, before), (dead_after, after) in zip(without, regularised, strict=True):
        assert dead_after < dead_before
        assert after > before


def test_the_collaborative_regulariser_makes_the_codes_say_who_buys_what():
    def explained(weight):
        """The share of the variance of E_c that a linear map of the quantized text explains."""
        model, last = trained(replace(NONE, collaborative=weight), replace(QUICK, epochs=20))
        text, collaborative = tables()
        quantized = model.quantized(model.codes({TEXT: text}))[TEXT]
        centred = [table - table.mean(dim=0) for table in (quantized, collaborative)]
        left = centred[1] - centred[0] @ torch.linalg.lstsq(*centred).solution
        return 1 - float(left.square().sum() / centred[1].square().sum()), last["collaborative"]

    without, loss_without = explained(0.0)
    regularised, loss_regularised = explained(1.0)
    assert loss_regularised < loss_without
    assert regularised > without + 0.03


def test_training_is_reproducible_by_seed_and_leaves_the_global_random_state_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (trained(LetterConfig(), replace(QUICK, seed=s)) for s in (3, 3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first[0].code_embeddings(TEXT), again[0].code_embeddings(TEXT))
    assert not torch.equal(first[0].code_embeddings(TEXT), other[0].code_embeddings(TEXT))


def test_the_number_of_steps_is_that_of_the_quantizers_settings():
    steps = []
    quantizer = replace(QUICK, max_steps=7)
    train_letter(*tables(), quantizer, NONE, lambda step: steps.append((step.done, step.total)))
    assert steps == [(done, 7) for done in range(1, 8)]


@pytest.mark.parametrize(
    ("field", "text", "collaborative"),
    [
        ("embeddings", torch.randn(5, 4), torch.randn(6, 4)),
        ("embeddings.text", torch.full((5, 4), torch.nan), torch.randn(5, 4)),
    ],
)
def test_embeddings_that_do_not_fit_are_named(field, text, collaborative):
    with pytest.raises(InvalidInputError) as caught:
        train_letter(text, collaborative, QUICK, NONE)
    assert caught.value.fields[0].field == field


@pytest.mark.parametrize("wrong", [{"collaborative": -1.0}, {"diversity": -1.0}, {"clusters": 0}])
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        LetterConfig(**wrong)
