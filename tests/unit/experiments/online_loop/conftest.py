import numpy as np
import pytest

from tests.unit.experiments.online_loop.made_up import timeline_of


@pytest.fixture
def timeline():
    """200 events of 25 users, who come and go, with items of which ever more appear."""
    rng = np.random.default_rng(0)
    return timeline_of(
        [
            (int(rng.integers(e // 10, e // 10 + 5)), int(rng.integers(0, 12 + e // 8)))
            for e in range(200)
        ]
    )
