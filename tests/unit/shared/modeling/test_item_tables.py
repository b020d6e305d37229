import numpy as np

from shared.modeling.imputation import DISTANCE, NEIGHBOURS
from shared.modeling.item_tables import ItemTables, impute_collaborative, impute_content
from shared.modeling.modality import Modality

TEXT, VISUAL = Modality.TEXT, Modality.VISUAL


def random_tables(items: int, missing_images: list[int]) -> ItemTables:
    generator = np.random.default_rng(0)
    text = generator.normal(size=(items, 6)).astype(np.float32)
    visual = generator.normal(size=(items, 5)).astype(np.float32)
    visual[missing_images] = 0
    masks = {TEXT: np.zeros(items, dtype=bool), VISUAL: np.zeros(items, dtype=bool)}
    masks[VISUAL][missing_images] = True
    return ItemTables({TEXT: text, VISUAL: visual}, masks)


def cosine(a, b) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def blended(known, nearest, weights):
    mean = known.mean(axis=0)
    offsets = known[nearest] - mean
    direction = weights @ offsets
    distance = weights @ np.linalg.norm(offsets, axis=1) / weights.sum()
    return mean + DISTANCE * direction / np.linalg.norm(direction) * distance


def test_a_missing_image_is_a_blend_of_the_images_of_items_with_like_text():
    tables = random_tables(30, [4])
    text, visual = tables.embeddings[TEXT], tables.embeddings[VISUAL]
    weights = {row: cosine(text[4], text[row]) for row in range(30) if row != 4}
    nearest = sorted(weights, key=weights.get, reverse=True)[:NEIGHBOURS]
    shares = np.array([max(weights[row], 0.0) for row in nearest])
    known = np.delete(np.arange(30), 4)
    places = np.searchsorted(known, nearest)
    filled = impute_content(tables).embeddings[VISUAL]
    assert np.allclose(filled[4], blended(visual[known], places, shares), atol=1e-5)
    assert np.array_equal(filled[known], visual[known])


def test_a_cold_item_gets_the_collaborative_vector_of_its_content_neighbours():
    tables = random_tables(40, [])
    tables.embeddings[TEXT][39] = tables.embeddings[TEXT][0]
    tables.embeddings[VISUAL][39] = tables.embeddings[VISUAL][0]
    trained = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    cold = np.zeros(40, dtype=bool)
    cold[[38, 39]] = True
    filled = impute_collaborative(trained, cold, tables)
    assert np.array_equal(filled[:38], trained[:38])
    similarity = np.array(
        [
            np.mean(
                [
                    cosine(tables.embeddings[j][39], tables.embeddings[j][row])
                    for j in (TEXT, VISUAL)
                ]
            )
            for row in range(38)
        ]
    ).clip(0)
    nearest = np.argsort(-similarity)[:NEIGHBOURS]
    assert nearest[0] == 0
    expected = blended(trained[:38], nearest, similarity[nearest])
    assert np.allclose(filled[39], expected, atol=1e-5)


def test_an_estimated_image_has_no_say_in_what_an_item_is_like():
    tables = random_tables(40, [39])
    cold = np.arange(40) == 39
    trained = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    before = impute_collaborative(trained, cold, impute_content(tables))
    tables.embeddings[VISUAL][39] = 100.0
    assert np.allclose(before, impute_collaborative(trained, cold, tables), atol=1e-5)


def test_cold_items_never_take_part_in_the_estimate_of_another():
    tables = random_tables(40, [])
    trained = np.ones((40, 3), dtype=np.float32)
    cold = np.arange(40) >= 30
    trained[cold] = 1000.0
    filled = impute_collaborative(trained, cold, tables)
    assert np.allclose(filled, 1.0)


def test_an_item_without_any_content_gets_the_mean():
    tables = random_tables(20, [3])
    tables.embeddings[TEXT][3] = 0
    tables.imputed[TEXT][3] = True
    filled = impute_content(tables).embeddings
    others = np.delete(np.arange(20), 3)
    for modality in (TEXT, VISUAL):
        mean = tables.embeddings[modality][others].mean(axis=0)
        assert np.allclose(filled[modality][3], mean, atol=1e-5)


def test_without_images_in_the_catalogue_there_is_nothing_to_impute_them_from():
    tables = random_tables(10, [])
    text_only = ItemTables({TEXT: tables.embeddings[TEXT]}, {TEXT: tables.imputed[TEXT]})
    filled = impute_content(text_only)
    assert set(filled.embeddings) == {TEXT}
    assert np.array_equal(filled.embeddings[TEXT], tables.embeddings[TEXT])
