import numpy as np

from services.ranking.filters import FilterIndex, attribute_term, category_term


def test_it_is_exact_while_rows_are_described_again_and_again():
    random = np.random.default_rng(0)
    index, known = FilterIndex(), {}
    for row in [*range(3000), *random.integers(3500, size=3000).tolist()]:
        categories = [f"c{c}" for c in np.unique(random.integers(40, size=random.integers(6)) ** 2)]
        known[row] = (categories, {"size": int(random.integers(3))})
        index.put(row, *known[row])
    for terms in (["c0"], ["c1", "c4"], ["c1521", "nothing"], []):
        found = index.having_any([category_term(term) for term in terms], 3500)
        wanted = [row for row, (categories, _) in known.items() if {*categories} & {*terms}]
        assert np.flatnonzero(found).tolist() == sorted(wanted)
    found = index.having_any([attribute_term("size", 1), attribute_term("size", 2.0)], 3500)
    wanted = [row for row, (_, attributes) in known.items() if attributes["size"] > 0]
    assert np.flatnonzero(found).tolist() == sorted(wanted)


def test_describing_the_same_rows_again_takes_no_more_memory():
    index = FilterIndex()
    for _ in range(3):
        for row in range(2000):
            index.put(row, ["a", f"b{row % 300}"], {"color": "red"})
    once = index.bytes
    for row in range(2000):
        index.put(row, ["a"], {"color": "blue"})
        index.put(row, ["a", f"b{row % 300}"], {"color": "red"})
    assert index.bytes <= 1.5 * once
    # A rare term costs what its rows cost, not a bit of every row.
    for row in range(2000):
        index.put(row, ["a", f"b{row % 300}", f"only-{row}"], {"color": "red"})
    assert index.bytes - once < 2000 * 60
