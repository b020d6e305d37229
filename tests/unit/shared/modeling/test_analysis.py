import json

import numpy as np
import pytest
import torch

from shared.modeling.analysis import analyse, code_use, kept_distances, sums_of_codes
from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder, ItemForm
from shared.modeling.kendall import behavioural_target_distances, kendall_tau
from shared.modeling.modality import Modality
from shared.modeling.spectrum import spectrum_of

ITEMS, DIMENSION, LEVELS, SIZE = 30, 8, 2, 4
C, T = Modality.COLLABORATIVE, Modality.TEXT
HISTORIES = [np.array([0, 1, 2]), np.array([3, 4]), np.array([], dtype=np.int64), np.array([5])]
TARGETS = np.array([6, 7, 8, -1])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def model(form=None, modalities=(C, T), fused=True):
    """An encoder and a head that are not trained, and code embeddings other than theirs."""
    levels = LEVELS if form is None or form.coded else 0
    codes = {
        j: torch.randint(SIZE, (ITEMS, levels), generator=torch.Generator().manual_seed(place))
        for place, j in enumerate(modalities)
    }
    encoder = ItemEncoder(
        {j: drawn(ITEMS, 3 + place, seed=place) for place, j in enumerate(modalities)},
        codes,
        {j: drawn(levels, SIZE, DIMENSION, seed=5) for j in modalities},
        form or ItemForm(),
    )
    head = FusionHead(torch.arange(ITEMS), tuple(modalities) if fused else (), DIMENSION)
    return encoder, head, {j: drawn(levels, SIZE, DIMENSION, seed=9) for j in modalities}


def test_it_measures_the_tables_that_the_model_reads_and_scores_with():
    encoder, head, start = model()
    spectra = analyse(encoder, head, start, HISTORIES, TARGETS).spectra
    assert list(spectra) == [
        "collaborative", "text", "input", "target", "fused", "codes_collaborative", "codes_text",
    ]  # fmt: skip
    assert spectra["text"] == spectrum_of(encoder.embeddings(T))
    assert spectra["input"].log10 == pytest.approx(spectrum_of(encoder.table()).log10)
    assert spectra["target"] == spectrum_of(head.target_table)
    assert spectra["fused"].log10 == pytest.approx(spectrum_of(head.fused_matrix(encoder)).log10)
    codes = encoder.sum_of_codes(T, encoder.codes(T))
    assert spectra["codes_text"].log10 == pytest.approx(spectrum_of(codes).log10, abs=1e-5)


def test_a_projected_table_alone_shows_its_collapse():
    encoder, head, start = model(ItemForm(coded=False, joined="sum"), (C,), fused=False)
    analysis = analyse(encoder, head, start, HISTORIES, TARGETS)
    assert set(analysis.spectra) == {"collaborative", "input", "target"}
    # 3 dimensions of E_c and that of the bias are all that a linear projection can fill (Eq. 8).
    assert analysis.spectra["input"].healthy == 4
    assert (analysis.codes, analysis.tau) == ({}, {})


def test_tau_is_taken_before_and_after_fine_tuning():
    encoder, head, start = model()
    kept = analyse(encoder, head, start, HISTORIES, TARGETS).tau[T]
    original = behavioural_target_distances(encoder.embeddings(T), HISTORIES, TARGETS)
    codes = encoder.codes(T)
    before = start[T][torch.arange(LEVELS), codes].sum(dim=1)
    after = encoder.sum_of_codes(T, codes)

    def tau(table):
        return kendall_tau(original, behavioural_target_distances(table, HISTORIES, TARGETS))

    assert (kept.quantized, kept.fine_tuned) == pytest.approx((tau(before), tau(after)))
    assert kept.quantized != kept.fine_tuned
    # The third user has no history, the fourth no target.
    assert kept.distances == 5


def test_mirroring_keeps_every_order_and_a_constant_table_none():
    table = torch.arange(1.0, ITEMS + 1).unsqueeze(1)
    kept = kept_distances(table, -table, torch.zeros(ITEMS, 1), [np.arange(6)], np.array([6]))
    assert (kept.quantized, kept.fine_tuned) == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize(
    ("table", "histories"),
    [(torch.ones(ITEMS, 2), [np.arange(3)]), (drawn(ITEMS, 2), [np.array([1])])],
)
def test_where_there_is_no_order_there_is_no_tau(table, histories):
    kept = kept_distances(table, drawn(ITEMS, 2), drawn(ITEMS, 2), histories, np.array([6]))
    assert (kept.quantized, kept.fine_tuned, kept.distances) == (None, None, len(histories[0]))


def test_each_modality_counts_against_its_own_codebook():
    codes = {C: torch.tensor([[0, 0], [1, 0]]), T: torch.tensor([[2], [2]])}
    used = code_use(codes, {C: torch.zeros(2, 2, 3), T: torch.zeros(1, 4, 3)})
    assert used[C]["size"] == 2
    assert used[C]["usage"] == [1.0, 0.5]
    assert used[C]["collision_rate"] == 0
    assert (used[T]["size"], used[T]["dead_codes"], used[T]["collision_rate"]) == (4, [3], 1)


def test_sums_of_codes_are_those_of_the_item_encoder_and_change_nothing():
    encoder, _, start = model()
    before = start[C].clone()
    table = start[C]
    sums = sums_of_codes(table, encoder.codes(C))
    torch.testing.assert_close(sums, table[torch.arange(LEVELS), encoder.codes(C)].sum(dim=1))
    assert torch.equal(table, before)


def test_an_analysis_is_json():
    encoder, head, start = model()
    document = analyse(encoder, head, start, HISTORIES, TARGETS).as_dict()
    assert json.loads(json.dumps(document)) == document
    assert set(document["tau"]["text"]) == {"quantized", "fine-tuned", "distances"}
    assert set(document["codes"]["text"]) == {
        "size", "usage", "dead_codes", "perplexity", "collision_rate",
    }  # fmt: skip
