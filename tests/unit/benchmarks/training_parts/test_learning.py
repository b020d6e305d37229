from benchmarks.training_parts.learning import (
    made_up_sequences,
    measure_tokenizer,
    measure_training,
    some_users,
)

ITEMS = 300


def test_samples_of_the_tokenizer_are_those_of_the_steps_that_were_timed():
    training, tokenizing = measure_tokenizer(ITEMS, steps=3)
    assert (training.unit, training.count) == ("samples", 3 * ITEMS // 2)
    assert (tokenizing.unit, tokenizing.count) == ("items", ITEMS)
    assert training.seconds > 0


def test_ranker_and_sasrec_learn_the_same_targets():
    split = some_users(made_up_sequences(ITEMS, users=40), 20)
    targets = sum(len(train) - 1 for train in split.train)
    sasrec, ranker = measure_training(split, ITEMS)
    assert (sasrec.way, ranker.way) == ("SASRec", "ranker")
    assert sasrec.count == ranker.count == targets
    assert sasrec.seconds > 0
    assert ranker.seconds > 0
