from benchmarks.soak_parts.ledger import GivenList, Ledger, Loss, Request
from benchmarks.soak_parts.operating import Operation
from benchmarks.soak_parts.report import report
from benchmarks.soak_parts.soaking import Outcome


def outcome(*, failure=None, lost=(), operation_failure=None) -> Outcome:
    ledger = Ledger(items=["a"], lists=[GivenList("r1", "sasrec", "deadline")])
    ledger.requests += [
        Request("items", began_s=float(n), seconds=n / 1000, failure=None) for n in range(1, 101)
    ]
    ledger.requests.append(Request("events", 3.0, 0.5, failure))
    ledger.live.append((0.0, "b1"))
    operation = Operation("rollback", 4.0, 1.0, "b1 is live", operation_failure)
    return Outcome(ledger, [operation], list(lost), seconds=10.0)


def test_requests_are_counted_by_kind_with_their_latencies():
    text = report(outcome())

    assert "| items | 100 | 0 | 0 | 50 | 95 | 99 |" in text
    assert "| events | 1 | 0 | 0 | 500 | 500 | 500 |" in text
    assert "1 by sasrec (deadline)" in text
    assert "| 4 | 1 | rollback | b1 is live |" in text
    assert "| 0 | b1 |" in text
    assert "Nothing failed, nothing was lost." in text


def test_whatever_went_wrong_is_a_failure_and_is_shown():
    ended = outcome(
        failure="POST /v1/events: 500",
        lost=[Loss("items", "a", "is pending in Postgres")],
        operation_failure="is not over in time",
    )

    assert len(ended.failures) == 3
    text = report(ended)
    assert "| events | 1 | 1 | 0 |" in text
    assert "| items | 100 | 0 | 1 |" in text
    for failure in ended.failures:
        assert failure in text
