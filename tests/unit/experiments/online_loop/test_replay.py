"""The protocol, with bundles that write down what they are asked; and that it shows what it is
made to show, with small models."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from experiments.online_loop.knowledge import known_at
from experiments.online_loop.measuring import measured
from experiments.online_loop.replay import Plan, first_replayed, replay
from experiments.online_loop.sasrec_bundle import SASRecBundle
from shared.errors import InvalidInputError
from shared.modeling.sasrec_config import SASRecConfig
from tests.unit.experiments.online_loop.made_up import content_of, timeline_of


@dataclass
class Noted:
    """A bundle that ranks by row, and notes: known, the sequences it was trained on; asked, the
    histories it ranked for and how many items it ranked."""

    journal: list
    known: list
    start: str

    def scorer(self, items):
        def score(histories):
            self.journal.append(("ranked", self, histories, len(items)))
            return torch.arange(len(items)).expand(len(histories), -1).float()

        return score

    def retrained(self, known):
        return self.trained(self.journal, known, "warm")

    def kept_from(self, former):
        return {"cosine_kept": {"collaborative": len(former.known) / len(self.known)}}

    @classmethod
    def trained(cls, journal, known, start="nothing"):
        bundle = cls(journal, [rows.tolist() for rows in known.sequences], start)
        journal.append(("trained", bundle))
        return bundle


@pytest.fixture
def replayed(timeline):
    """journal, slices."""

    def of(**plan):
        journal = []
        train = lambda known: Noted.trained(journal, known)  # noqa: E731
        content = content_of(timeline)
        slices = list(replay(timeline, content, Plan(**plan), train, lambda _line: None))
        return journal, slices

    return of


def known_by(timeline, moment):
    return [rows.tolist() for rows in timeline.sequences(moment) if len(rows) > 1]


def test_slices_cover_the_last_fifth(timeline, replayed):
    _, slices = replayed(every=15)
    assert [(one.first, one.last) for one in slices] == [(160, 175), (175, 190), (190, 200)]
    targets = np.concatenate([one.targets for one in slices])
    assert targets.tolist() == timeline.with_history(160, 200).tolist()


def test_a_slice_is_ranked_before_anything_is_trained_on_it(timeline, replayed):
    journal, slices = replayed(every=15)
    happened = [(entry[0], entry[1].start, len(entry[1].known)) for entry in journal]
    users = [len(known_by(timeline, one.first)) for one in slices]
    frozen, second, third = users
    assert happened == [
        ("trained", "nothing", frozen),
        ("ranked", "nothing", frozen),  # for all three curves: there is one bundle yet
        ("trained", "warm", second),
        ("trained", "nothing", second),
        ("ranked", "nothing", frozen),
        ("ranked", "warm", second),
        ("ranked", "nothing", second),
        ("trained", "warm", third),
        ("trained", "nothing", third),
        ("ranked", "nothing", frozen),
        ("ranked", "warm", third),
        ("ranked", "nothing", third),
    ]
    trained = [entry[1].known for entry in journal if entry[0] == "trained"]
    moments = [160, 175, 175, 190, 190]
    assert trained == [known_by(timeline, moment) for moment in moments]


def test_histories_are_live_for_every_curve(timeline, replayed):
    journal, slices = replayed(every=15)
    ranked = [entry for entry in journal if entry[0] == "ranked"]
    for one, asked in zip(slices, [ranked[:1], ranked[1:4], ranked[4:]], strict=True):
        expected = sorted(timeline.history(int(event)).tolist() for event in one.targets)
        for _, _, histories, items in asked:
            assert sorted(rows.tolist() for rows in histories) == expected
            # What is first met in the slice is in the catalogue, what comes later is not.
            assert items == timeline.items_met(one.last)


def test_ranks_are_those_among_the_items_the_user_had_not_met(timeline, replayed):
    _, slices = replayed(every=15)
    for one in slices:
        for event, rank in zip(one.targets, one.ranks["warm"], strict=True):
            unmet = set(range(timeline.items_met(one.last))) - set(timeline.history(event).tolist())
            target = timeline.rows[event]
            assert rank == 1 + len({row for row in unmet if row > target})


def test_retraining_from_nothing_can_be_left_out(replayed):
    journal, slices = replayed(every=15, full=False)
    assert {entry[1].start for entry in journal[1:] if entry[0] == "trained"} == {"warm"}
    assert list(slices[0].ranks) == ["frozen", "warm"]


def test_a_warm_retraining_says_what_it_kept_of_the_bundle_before(timeline, replayed):
    _, slices = replayed(every=15)
    assert slices[0].trainings["warm"].kept == {}
    users = [len(known_by(timeline, one.first)) for one in slices]
    for one, before, now in zip(slices[1:], users, users[1:], strict=False):
        assert one.trainings["warm"].kept == {"cosine_kept": {"collaborative": before / now}}
        assert one.trainings["full"].kept == {}


def test_targets_are_drawn_by_the_seed(replayed):
    def drawn(seed):
        return [one.targets.tolist() for one in replayed(every=20, targets=8, seed=seed)[1]]

    assert drawn(0) == drawn(0) != drawn(1)
    assert [len(targets) for targets in drawn(0)] == [8, 8]


def test_a_plan_without_events_between_trainings_is_refused():
    with pytest.raises(InvalidInputError, match="every"):
        Plan(every=0)


@pytest.fixture
def changing():
    """Items around a ring. After every item comes the next one; from the moment on at which the
    replay begins, the one before."""
    rng = np.random.default_rng(0)
    items, length, users = 20, 10, 125
    events = []
    for user in range(users):
        step = 1 if user < 0.8 * users else -1
        begin = int(rng.integers(items))
        events += [(user, (begin + step * place) % items) for place in range(length)]
    return timeline_of(events)


def test_who_retrains_learns_what_users_have_turned_to(changing):
    config = SASRecConfig(
        dimension=16, feedforward=16, dropout=0.0, epochs=20, patience=20, learning_rate=1e-2
    )
    train = lambda known: SASRecBundle.trained(known, config, "cpu")  # noqa: E731
    plan = Plan(every=125)
    slices = list(replay(changing, content_of(changing), plan, train, lambda _line: None))
    assert slices[0].first == first_replayed(changing)
    figures = measured(changing, slices)
    for curve in ("warm", "full"):
        low, _ = figures["gain"][curve]["interval"]
        assert low > 0
    last = slices[-1].trainings["warm"]
    assert 0 < last.kept["cosine_kept"]["collaborative"] < 1


def test_a_bundle_is_as_it_was_after_it_ranked_and_another_was_made_from_it(changing):
    config = SASRecConfig(dimension=8, feedforward=8, epochs=2, learning_rate=1e-2)
    content = content_of(changing)
    bundle = SASRecBundle.trained(known_at(changing, 500, content), config, "cpu")
    before = {name: weight.clone() for name, weight in bundle.model.state_dict().items()}
    later = known_at(changing, 1250, content)
    bundle.scorer(later.items)([np.array([1, 2])])
    retrained = bundle.retrained(later)
    assert retrained is not bundle
    assert all(torch.equal(before[name], w) for name, w in bundle.model.state_dict().items())


def test_a_bundle_ranks_items_that_came_after_it_by_what_they_are_like(timeline):
    content = content_of(timeline)
    config = SASRecConfig(dimension=8, feedforward=8, epochs=1)
    known = known_at(timeline, 100, content)
    bundle = SASRecBundle.trained(known, config, "cpu")
    later = known_at(timeline, 200, content).items
    assert len(later) > len(known.items)
    scores = bundle.scorer(later)([np.array([0, 1, 2])])
    assert scores.shape == (1, len(later))
    new = scores[0, len(known.items) :]
    assert bool(new.isfinite().all())
    assert len(new.unique()) == len(new)
