from benchmarks.training_parts.publish import Published
from benchmarks.training_parts.rate import Rate
from benchmarks.training_parts.report import publish_table, rates_table


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_peers_are_compared_with_the_first_way():
    *_, ours, peer = rates_table(
        [Rate("ours", "texts", 100, 2.0), Rate("peer: x", "texts", 100, 5)]
    )
    assert cells(ours)[3:5] == ["50", ""]
    assert cells(peer)[3:5] == ["20", "2.50x as fast"]


def test_cost_an_item_is_compared_between_the_largest_and_the_smallest_catalogue():
    sizes = [
        Published(100, 8, {"write": 1.0, "load": 1.0}, 0.0),
        Published(1000, 8, {"write": 10.0, "load": 30.0}, 0.0),
    ]
    *_, first, second, grown = publish_table(sizes)
    assert cells(first)[-2:] == ["2.0", "20.00"]
    assert cells(second)[-2:] == ["40.0", "40.00"]
    assert cells(grown) == ["an item, 1,000 : 100", "", "1.00", "3.00", "2.00", ""]


def test_one_catalogue_alone_is_compared_with_nothing():
    assert len(list(publish_table([Published(100, 8, {"write": 1.0}, 0.0)]))) == 3
