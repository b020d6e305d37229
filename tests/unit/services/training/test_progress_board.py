import json

from services.training.progress_board import ProgressBoard
from shared.contracts.admin import StageProgress


def test_stages_keep_their_order_and_their_latest_figures():
    board = ProgressBoard()
    board.update("snapshot", 1, 1)
    board.update("collaborative", 1, 10, {"loss": 2.0})
    board.update("collaborative", 2, 10, {"validation_ndcg@10": 0.1})
    assert board.rows() == [
        {"stage": "snapshot", "done": 1, "total": 1, "metrics": {}},
        {
            "stage": "collaborative",
            "done": 2,
            "total": 10,
            "metrics": {"loss": 2.0, "validation_ndcg@10": 0.1},
        },
    ]


def test_figures_that_json_cannot_hold_are_left_out():
    board = ProgressBoard()
    board.update("finetune", 1, 2, {"loss": float("nan"), "best": float("inf"), "fine": 1.0})
    assert json.loads(json.dumps(board.rows(), allow_nan=False))[0]["metrics"] == {"fine": 1.0}


def test_a_stage_that_stopped_early_is_complete_where_it_stopped():
    board = ProgressBoard()
    board.update("collaborative", 12, 200, {"loss": 1.0})
    assert board.complete("collaborative").model_dump() == {
        "stage": "collaborative",
        "done": 12,
        "total": 12,
        "metrics": {"loss": 1.0},
    }


def test_a_stage_of_an_earlier_owner_is_shown_as_it_ended():
    board = ProgressBoard()
    earlier = StageProgress(stage="embed", done=40, total=40, metrics={"not_embedded": 1.0})
    board.restore(earlier)
    assert board.rows() == [earlier.model_dump()]
