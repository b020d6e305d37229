import numpy as np
import pytest

from experiments.online_loop.timeline import read_timeline
from experiments.settings import DataSettings
from shared.errors import InvalidInputError


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "items.jsonl").write_text(
        "".join(f'{{"item_id": "{name}", "title": "The {name}"}}\n' for name in "abcdef")
    )
    (folder / "interactions.csv").write_text(
        "user_id,item_id,timestamp,rating\n"
        "ann,c,300,5\nann,a,100,5\nbob,b,200,4\nbob,d,200,5\nbob,e,150,2\ncid,a,300,5\n"
    )
    return folder


def read(folder, **settings):
    return read_timeline(folder, DataSettings(**settings), lambda _line: None)


def test_events_are_in_the_order_of_time_and_items_in_that_of_their_first_event(folder):
    timeline = read(folder, minimum_rating=3.5)
    assert [item.item_id for item in timeline.items] == ["a", "b", "d", "c"]
    assert timeline.rows.tolist() == [0, 1, 2, 3, 0]  # of the same time: as in the file
    assert timeline.users.tolist() == [0, 1, 1, 0, 2]
    assert [time.timestamp() for time in timeline.times] == [100, 200, 200, 300, 300]


def test_what_is_met_by_a_moment_are_the_first_items(timeline):
    for moment in (0, 1, 50, len(timeline)):
        met = set(timeline.rows[:moment].tolist())
        assert met == set(range(timeline.items_met(moment)))


def test_a_history_is_what_the_user_had_met_before_the_event(timeline):
    for event in range(len(timeline)):
        earlier = [e for e in range(event) if timeline.users[e] == timeline.users[event]]
        assert timeline.history(event).tolist() == timeline.rows[earlier].tolist()


def test_sequences_are_the_histories_of_all_users_at_the_moment(timeline):
    for moment in (30, 150, len(timeline)):
        expected = [
            timeline.rows[:moment][timeline.users[:moment] == user].tolist()
            for user in np.unique(timeline.users[:moment])
        ]
        assert [rows.tolist() for rows in timeline.sequences(moment)] == expected


def test_a_users_first_event_has_no_history_to_rank_by(timeline):
    events = timeline.with_history(20, 120)
    assert [e for e in range(20, 120) if len(timeline.history(e))] == events.tolist()


def test_sequences_without_times_are_refused(folder):
    with pytest.raises(InvalidInputError, match=r"data\.sequences"):
        read(folder, sequences="sequences.txt")
