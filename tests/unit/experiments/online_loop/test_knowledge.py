from dataclasses import replace

import numpy as np

from experiments.online_loop.knowledge import items_met, known_at
from shared.modeling.modality import Modality
from tests.unit.experiments.online_loop.made_up import content_of

T = Modality.TEXT


def test_a_training_knows_all_that_happened_and_nothing_later(timeline):
    for moment in (40, 160):
        known = known_at(timeline, moment, content_of(timeline))
        assert [rows.tolist() for rows in known.sequences] == [
            rows.tolist() for rows in timeline.sequences(moment) if len(rows) > 1
        ]
        assert len(known.items) == timeline.items_met(moment) == known.frequency.size


def test_its_items_are_those_of_the_timeline_with_their_content(timeline):
    content = content_of(timeline)
    items = items_met(timeline, 100, content)
    assert items.ids == [item.item_id for item in timeline.items[: len(items)]]
    assert np.array_equal(items.content.embeddings[T], content.embeddings[T][: len(items)])


def test_what_an_item_lacks_is_not_estimated_from_items_to_come(timeline):
    content = content_of(timeline)
    missing = content.imputed[T].copy()
    missing[3] = True
    content = replace(content, imputed={T: missing})
    later = content.embeddings[T].copy()
    later[timeline.items_met(100) :] += 5
    other = replace(content, embeddings={T: later})
    estimates = [items_met(timeline, 100, one).content.embeddings[T][3] for one in (content, other)]
    assert np.array_equal(*estimates)
    later[0] += 5
    assert not np.array_equal(
        items_met(timeline, 100, other).content.embeddings[T][3], estimates[0]
    )
