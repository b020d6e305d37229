from benchmarks.ranking_parts.plan import Measurement, Outcome, Speed
from benchmarks.ranking_parts.report import results_section


def measurement(way, per_s, *, concurrency=(1, 8, 32), memory=2 * 10**9, **outcome):
    speeds = tuple(
        Speed(workload="new", concurrency=n, requests=50, per_s=rate, p50_ms=1.0, p99_ms=None)
        for n, rate in zip(concurrency, per_s, strict=True)
    )
    return Measurement(
        shape="small",
        items=12_086,
        way=way,
        target_bytes=10**9,
        outcome=Outcome(speeds=speeds, memory_bytes=memory, **outcome),
    )


def row(report, *beginning):
    """The cells after those that the row begins with."""
    start = f"| {' | '.join(beginning)} |"
    [line] = [line for line in report.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line[len(start) :].strip("|").split("|")]


def test_ratios_are_those_at_the_same_concurrency():
    report = results_section(
        [
            measurement("transformers", (10, 40, 90)),
            measurement("b", (20, 40, 60)),
            measurement("c", (5, 8, 9)),
        ]
    )
    assert row(report, "ours, engine transformers", "1")[-3:] == ["-", "0.50x", "2.00x"]
    assert row(report, "ours, engine transformers", "32")[-3:] == ["-", "1.50x", "10x"]


def test_one_at_a_time_is_compared_by_its_rate_alone():
    report = results_section(
        [measurement("vllm", (10, 40, 90)), measurement("a", (2,), concurrency=(1,))]
    )
    assert row(report, "ours, engine vllm", "32")[-3] == "45x"
    assert row(report, "of (a) at 32") == [">= 20x", "vllm", "45x", "yes"]


def test_time_above_the_floor_and_targets():
    report = results_section(
        [
            measurement("transformers", (10, 40, 90)),
            measurement("b", (20, 50, 100)),
            measurement("floor", (25, 50, 100), memory=None),
        ]
    )
    assert row(report, "ours, engine transformers", "25 %") == ["2.00", "-"]
    assert row(report, "above the floor at 8") == ["<= 30 %", "transformers", "25 %", "yes"]
    assert row(report, "of (b) at 32") == [">= 1x", "transformers", "0.90x", "no"]
    assert row(report, "memory, GB") == ["<= 1.00", "transformers", "2.00", "no"]


def test_answers_are_compared_with_those_of_the_batched_peer():
    report = results_section(
        [
            measurement("transformers", (1, 1, 1), probes=((1, 2), (3, 4))),
            measurement("b", (1, 1, 1), probes=((2, 1), (4, 5))),
        ]
    )
    assert row(report, "ours, engine transformers", "-", "2.00") == ["75 %"]


def test_what_was_not_measured_is_named():
    none = measurement("vllm", (), concurrency=(), memory=None, missing=("vLLM is not installed",))
    report = results_section([none, measurement("b", (1, 1, 1))])
    assert "- ours, engine vllm: vLLM is not installed" in report
