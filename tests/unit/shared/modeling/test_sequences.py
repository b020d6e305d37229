import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidInputError
from shared.modeling.sequences import NOT_EVALUATED, item_frequency, leave_one_out

sequences_of_items = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=8)


def arrays(sequences):
    return [np.array(sequence, dtype=np.int64) for sequence in sequences]


def test_the_last_item_is_test_and_the_second_last_validation():
    split = leave_one_out(arrays([[4, 1, 3, 2]]))
    assert split.train[0].tolist() == [4, 1]
    assert split.validation_target.tolist() == [3]
    assert split.test_target.tolist() == [2]
    assert split.validation_history(0).tolist() == [4, 1]
    assert split.test_history(0).tolist() == [4, 1, 3]


@pytest.mark.parametrize("items", [[], [5], [5, 6]])
def test_a_short_user_stays_whole_in_train_and_is_not_evaluated(items):
    split = leave_one_out(arrays([items]))
    assert split.train[0].tolist() == items
    assert split.test_history(0).tolist() == items
    assert split.validation_target.tolist() == [NOT_EVALUATED]
    assert split.test_target.tolist() == [NOT_EVALUATED]


@given(sequences_of_items)
def test_no_interaction_is_lost_or_added_by_the_split(sequences):
    split = leave_one_out(arrays(sequences))
    for user, sequence in enumerate(sequences):
        restored = split.test_history(user).tolist()
        if split.test_target[user] != NOT_EVALUATED:
            restored.append(int(split.test_target[user]))
        assert restored == sequence


def test_frequency_counts_the_training_part_alone():
    split = leave_one_out(arrays([[0, 0, 2, 3, 1], [2, 1]]))
    assert item_frequency(split, 5).tolist() == [2, 1, 2, 0, 0]


def test_frequency_of_no_users_is_zero():
    assert item_frequency(leave_one_out([]), 3).tolist() == [0, 0, 0]


def test_a_row_beyond_the_catalogue_is_named():
    split = leave_one_out(arrays([[7, 1, 2]]))
    with pytest.raises(InvalidInputError, match=r"number_of_items.*row 7"):
        item_frequency(split, 3)


@pytest.mark.parametrize(
    "sequence", [np.array([1.5, 2.0]), np.array([[1, 2]]), np.array([3, -1, 2])]
)
def test_a_sequence_that_holds_no_item_rows_is_named(sequence):
    with pytest.raises(InvalidInputError, match=r"sequences\.1"):
        leave_one_out([np.array([0, 1, 2]), sequence])
