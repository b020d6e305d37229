"""A small bundle goes the whole way: its own servers, and two services as processes."""

import pytest

from benchmarks.training_parts.publish import EMBEDDINGS, measure_publish
from services.training.stages.publish import STEPS
from shared.modeling.modality import Modality

pytestmark = pytest.mark.integration


def test_every_step_of_publishing_is_timed_and_the_bundle_goes_live():
    widths = {Modality.COLLABORATIVE: 8, Modality.TEXT: 12, Modality.VISUAL: 10}

    published = measure_publish(120, widths)

    assert list(published.seconds) == [EMBEDDINGS, *STEPS]
    assert published.cpu_seconds.keys() == published.seconds.keys()
    assert sum(published.cpu_seconds.values()) > 0
    assert published.floats == 30
