import pytest

from services.training.relay import retry_pause
from shared.settings import RelaySettings

SETTINGS = RelaySettings(first_retry_s=1.0, max_retry_s=60.0)


@pytest.mark.parametrize(
    ("attempts", "longest"), [(1, 1), (2, 2), (4, 8), (7, 60), (50, 60), (10**6, 60)]
)
def test_pauses_double_up_to_the_cap_with_a_little_jitter(attempts, longest):
    pauses = [retry_pause(attempts, SETTINGS).total_seconds() for _ in range(50)]
    assert all(0.8 * longest <= pause <= longest for pause in pauses)
    assert len(set(pauses)) > 1
