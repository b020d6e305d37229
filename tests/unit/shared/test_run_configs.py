import subprocess
import sys

import pytest

from shared.contracts.admin import TrainingCreate
from shared.errors import InvalidInputError
from shared.run_configs import require_trainable
from shared.settings import TrainingSettings


def test_a_base_model_that_only_the_worker_can_look_for_is_accepted():
    require_trainable(TrainingCreate(ranker={"base_model": "/no/such/folder"}), TrainingSettings())


def test_what_is_checked_depends_on_the_settings_as_in_the_worker():
    four_bit = TrainingCreate(ranker={"four_bit": True})
    with pytest.raises(InvalidInputError, match=r"ranker\.four_bit: needs a frozen base"):
        require_trainable(four_bit, TrainingSettings(base_model="tiny"))
    require_trainable(four_bit, TrainingSettings(base_model="meta-llama/Meta-Llama-3-8B-Instruct"))


def test_the_check_needs_no_torch():
    code = "import sys; import shared.run_configs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
