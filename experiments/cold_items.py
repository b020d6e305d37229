"""Items that nobody meets before the test: what is known of them is their content."""

import numpy as np

from shared.modeling.sequences import NOT_EVALUATED, Split

DRAWN_BY = 0


def with_cold_items(split: Split, number_of_items: int, share: float) -> Split:
    """`split` in which a share of the items occurs in no training part and is no validation target.

    The same items for every model and seed. They stay test targets; histories lack them.
    """
    generator = np.random.default_rng(DRAWN_BY)
    cold = np.zeros(number_of_items, dtype=np.bool_)
    drawn = generator.choice(number_of_items, round(share * number_of_items), replace=False)
    cold[drawn] = True
    known = split.validation_target != NOT_EVALUATED
    validation = split.validation_target.copy()
    validation[known & cold[validation]] = NOT_EVALUATED
    return Split([items[~cold[items]] for items in split.train], validation, split.test_target)
