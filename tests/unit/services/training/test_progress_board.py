import json
from datetime import UTC, datetime

from services.training.progress_board import ProgressBoard
from shared.contracts.admin import StageProgress


def board_with(*stages: str) -> ProgressBoard:
    board = ProgressBoard()
    for stage in stages:
        board.begin(stage)
    return board


def test_stages_keep_their_order_and_their_latest_figures():
    board = board_with("snapshot", "collaborative")
    board.update("snapshot", 1, 1)
    board.update("collaborative", 1, 10, {"loss": 2.0})
    board.update("collaborative", 2, 10, {"validation_ndcg@10": 0.1})
    shown = [
        {name: row[name] for name in ("stage", "done", "total", "metrics")} for row in board.rows()
    ]
    assert shown == [
        {"stage": "snapshot", "done": 1, "total": 1, "metrics": {}},
        {
            "stage": "collaborative",
            "done": 2,
            "total": 10,
            "metrics": {"loss": 2.0, "validation_ndcg@10": 0.1},
        },
    ]


def test_a_stage_is_shown_from_its_beginning_on_and_its_time_runs():
    before = datetime.now(UTC)
    board = board_with("embed")
    begun = StageProgress.model_validate(board.rows()[0])
    assert (begun.done, begun.total, begun.seconds) == (0, 1, 0.0)
    assert before <= begun.started_at <= datetime.now(UTC)
    board.update("embed", 1, 2)
    updated = StageProgress.model_validate(board.rows()[0])
    completed = board.complete("embed")
    assert 0 <= updated.seconds <= completed.seconds
    assert completed.started_at == begun.started_at


def test_a_stage_that_begins_again_is_measured_anew():
    board = board_with("embed")
    board.update("embed", 3, 3, {"not_embedded": 1.0})
    board.begin("embed")
    again = board.rows()[0]
    assert (again["done"], again["metrics"], again["seconds"]) == (0, {}, 0.0)


def test_figures_that_json_cannot_hold_are_left_out():
    board = board_with("finetune")
    board.update("finetune", 1, 2, {"loss": float("nan"), "best": float("inf"), "fine": 1.0})
    assert json.loads(json.dumps(board.rows(), allow_nan=False))[0]["metrics"] == {"fine": 1.0}


def test_a_stage_that_stopped_early_is_complete_where_it_stopped():
    board = board_with("collaborative")
    board.update("collaborative", 12, 200, {"loss": 1.0})
    completed = board.complete("collaborative")
    assert (completed.done, completed.total, completed.metrics) == (12, 12, {"loss": 1.0})


def test_a_stage_of_an_earlier_owner_is_shown_as_it_ended():
    board = ProgressBoard()
    earlier = StageProgress(
        stage="embed",
        done=40,
        total=40,
        metrics={"not_embedded": 1.0},
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=2.5,
    )
    board.restore(earlier)
    assert [StageProgress.model_validate(row) for row in board.rows()] == [earlier]
