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


def published(items: int, **cpu_seconds: float) -> Published:
    return Published(items, 8, dict.fromkeys(cpu_seconds, 9.0), cpu_seconds, index_mb=3.0)


def test_cost_an_item_is_compared_between_the_largest_and_the_smallest_catalogue():
    sizes = [published(100, write=1.0, load=1.0), published(1000, write=10.0, load=30.0)]
    *_, first, second, grown = publish_table(sizes)
    assert cells(first)[-4:] == ["2.0", "20.00", "18.0", "3"]
    assert cells(second)[-4:] == ["40.0", "40.00", "18.0", "3"]
    assert cells(grown)[:4] == ["an item, 1,000 : 100", "1.00", "3.00", "2.00"]


def test_one_catalogue_alone_is_compared_with_nothing():
    assert len(list(publish_table([published(100, write=1.0)]))) == 3
