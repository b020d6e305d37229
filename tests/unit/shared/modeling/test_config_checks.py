from types import SimpleNamespace

import pytest

from shared.errors import InvalidInputError
from shared.modeling.config_checks import require_at_least_one


def test_the_first_setting_below_one_is_named_with_its_value():
    config = SimpleNamespace(epochs=3, batch_size=0, patience=-1)
    with pytest.raises(InvalidInputError, match="batch_size: must be at least 1, not 0"):
        require_at_least_one(config, "epochs", "batch_size", "patience")


def test_only_the_settings_named_are_looked_at():
    require_at_least_one(SimpleNamespace(epochs=1, patience=0), "epochs")
