import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.item_encoder import ItemEncoder, ItemForm, random_code_embeddings
from shared.modeling.modality import Modality

ITEMS, DIMENSION = 30, 8
WIDTHS = {Modality.COLLABORATIVE: 4, Modality.TEXT: 12, Modality.VISUAL: 5}


def _inputs(modalities=tuple(Modality)):
    generator = torch.Generator().manual_seed(0)
    return (
        {m: torch.randn(ITEMS, WIDTHS[m], generator=generator) + 3 for m in modalities},
        {m: torch.randint(6, (ITEMS, 2), generator=generator) for m in modalities},
        {m: torch.randn(2, 6, DIMENSION, generator=generator) for m in modalities},
    )


def test_an_item_is_encoded_by_the_equation():
    embeddings, codes, tables = _inputs()
    encoder = ItemEncoder(embeddings, codes, tables)
    parts = []
    for modality in Modality:
        projection = encoder.projections[modality]
        parts.append(projection.weight @ embeddings[modality][7] + projection.bias)
        parts.append(sum(tables[modality][level, codes[modality][7, level]] for level in range(2)))
    hidden = encoder.widen.weight @ torch.cat(parts) + encoder.widen.bias
    hidden = torch.nn.functional.gelu(hidden)
    expected = encoder.narrow.weight @ hidden + encoder.narrow.bias
    torch.testing.assert_close(encoder(torch.tensor(7)), expected)


@pytest.mark.parametrize(
    "modalities", [tuple(Modality), (Modality.TEXT,), (Modality.COLLABORATIVE, Modality.VISUAL)]
)
def test_items_outside_the_catalogue_are_encoded_alike_whatever_modalities_exist(modalities):
    embeddings, codes, tables = _inputs(modalities)
    encoder = ItemEncoder(embeddings, codes, tables)
    new = encoder.encode(
        {m: embeddings[m][3:5] for m in modalities}, {m: codes[m][3:5] for m in modalities}
    )
    torch.testing.assert_close(new, encoder.table()[3:5])
    assert encoder.table().shape == (ITEMS, DIMENSION)


def test_at_the_start_the_mlp_is_the_sum_of_its_parts():
    encoder = ItemEncoder(*_inputs((Modality.COLLABORATIVE,))).initialise()
    embeddings = encoder.embeddings(Modality.COLLABORATIVE)
    codes = encoder.sum_of_codes(Modality.COLLABORATIVE, encoder.codes(Modality.COLLABORATIVE))
    projected = encoder.project(Modality.COLLABORATIVE, embeddings)
    gain = projected.square().sum(dim=1).mean().sqrt() / codes.square().sum(dim=1).mean().sqrt()
    torch.testing.assert_close(encoder.table(), projected + gain * codes, rtol=1e-4, atol=1e-5)


def test_at_the_start_the_collaborative_geometry_is_kept():
    encoder = ItemEncoder(*_inputs()).initialise()
    embeddings = encoder.embeddings(Modality.COLLABORATIVE)
    projected = encoder.project(Modality.COLLABORATIVE, embeddings)
    torch.testing.assert_close(torch.pdist(projected), torch.pdist(embeddings))


def test_content_starts_at_its_share_of_the_collaborative_norm():
    encoder = ItemEncoder(*_inputs()).initialise(content_scale=0.25)
    norms = {
        m: encoder.project(m, encoder.embeddings(m)).square().sum(dim=1).mean().sqrt()
        for m in Modality
    }
    for modality in (Modality.TEXT, Modality.VISUAL):
        torch.testing.assert_close(norms[modality], 0.25 * norms[Modality.COLLABORATIVE])


def test_codes_learn_and_embeddings_do_not():
    encoder = ItemEncoder(*_inputs()).initialise()
    encoder.table().square().sum().backward()
    assert encoder.code_embeddings[Modality.TEXT].grad.abs().sum() > 0
    assert not encoder.embeddings(Modality.TEXT).requires_grad


def test_code_embeddings_of_the_ablation_keep_the_scale_and_nothing_else():
    tables = _inputs()[2]
    drawn = random_code_embeddings(tables, seed=1)
    text = drawn[Modality.TEXT]
    assert text.shape == tables[Modality.TEXT].shape
    assert not torch.allclose(text, tables[Modality.TEXT])
    assert abs(float(text.std() / tables[Modality.TEXT].std()) - 1) < 0.3


def test_a_missing_modality_is_named():
    embeddings, codes, tables = _inputs()
    encoder = ItemEncoder(embeddings, codes, tables)
    del embeddings[Modality.VISUAL]
    with pytest.raises(InvalidInputError, match=r"embeddings\.visual"):
        encoder.encode(embeddings, codes)


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda e, c, t: e.clear(), "embeddings"),
        (lambda e, c, t: c.pop(Modality.TEXT), "codes"),
        (lambda e, c, t: e.update({Modality.TEXT: e[Modality.TEXT][:5]}), "embeddings"),
        (lambda e, c, t: t.update({Modality.TEXT: t[Modality.TEXT][..., :3]}), "code_embeddings"),
        (lambda e, c, t: c.update({Modality.TEXT: c[Modality.TEXT][:, :1]}), r"codes\.text"),
        (lambda e, c, t: c[Modality.TEXT].fill_(6), r"codes\.text"),
        (lambda e, c, t: e[Modality.TEXT].fill_(float("nan")), r"embeddings\.text"),
    ],
)
def test_inputs_that_do_not_agree_are_named(spoil, field):
    inputs = _inputs()
    spoil(*inputs)
    with pytest.raises(InvalidInputError, match=field):
        ItemEncoder(*inputs)


def test_a_form_adds_up_the_projections_alone():
    embeddings, codes, tables = _inputs()
    encoder = ItemEncoder(embeddings, codes, tables, ItemForm(coded=False, joined="sum"))
    expected = sum(encoder.project(m, embeddings[m][7]) for m in Modality)
    torch.testing.assert_close(encoder(torch.tensor(7)), expected)


def test_a_form_without_codes_takes_no_levels():
    embeddings, _, _ = _inputs()
    encoder = ItemEncoder(
        embeddings,
        {m: torch.empty(ITEMS, 0, dtype=torch.int64) for m in Modality},
        {m: torch.empty(0, 1, DIMENSION) for m in Modality},
        ItemForm(coded=False),
    ).initialise()
    torch.testing.assert_close(
        encoder.table(),
        sum(encoder.project(m, embeddings[m]) for m in Modality),
        rtol=1e-4,
        atol=1e-5,
    )


def test_one_level_with_a_code_an_item_is_an_embedding_table():
    embeddings, _, _ = _inputs((Modality.COLLABORATIVE,))
    rows = torch.randn(1, ITEMS, DIMENSION)
    encoder = ItemEncoder(
        embeddings,
        {Modality.COLLABORATIVE: torch.arange(ITEMS).unsqueeze(1)},
        {Modality.COLLABORATIVE: rows},
        ItemForm(projected=False, joined="sum"),
    )
    torch.testing.assert_close(encoder.table(), rows[0])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"projected": False, "coded": False}, "form"), ({"joined": "product"}, "form.joined")],
)
def test_a_form_that_means_nothing_is_refused(wrong, field):
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        ItemForm(**wrong)
