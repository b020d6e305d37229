import pytest

from shared.errors import (
    BY_SLUG,
    FieldProblem,
    InvalidInputError,
    MmesidError,
    OverloadedError,
    from_problem,
)


def test_a_problem_document_names_the_field_and_the_cause():
    document = InvalidInputError.of("k", "must be at least 1").problem()

    assert document["status"] == 422
    assert document["errors"] == [{"field": "k", "message": "must be at least 1"}]
    assert document["type"].startswith("urn:mmesid:problem:")


@pytest.mark.parametrize("error", BY_SLUG.values(), ids=BY_SLUG)
def test_an_error_survives_the_way_through_another_service(error):
    sent = error("why", fields=[FieldProblem("history.3", "is not known")], retry_after_s=2)

    received = from_problem(sent.problem())

    assert type(received) is error
    assert (received.detail, received.fields, received.retry_after_s) == (
        "why",
        (FieldProblem("history.3", "is not known"),),
        2,
    )


def test_a_problem_of_an_unknown_kind_becomes_the_base_error():
    received = from_problem({"type": "about:blank", "detail": "a teapot"})

    assert type(received) is MmesidError
    assert received.detail == "a teapot"


def test_every_slug_belongs_to_one_error():
    assert {error.slug for error in BY_SLUG.values()} == set(BY_SLUG)
    assert BY_SLUG[OverloadedError.slug].status == 429
