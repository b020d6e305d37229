from benchmarks.sasrec_training_parts.clock import OURS, Epoch
from benchmarks.sasrec_training_parts.report import Quality, quality_table, speed_table


def cells(lines, name):
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    [row] = [row for row in rows if row[0] == name]
    assert len(head) == len(row)
    return dict(zip(head, row, strict=True))


def test_ratios_are_of_medians_and_parts_of_an_epoch_count_as_parts():
    ours = [Epoch(seconds, seconds / 2, 10, 1000) for seconds in (10.0, 8.0, 90.0)]
    half = [Epoch(seconds, seconds, 50, 500) for seconds in (20.0, 15.0, 25.0)]
    table = list(speed_table({OURS: ours, "peer": half}, whole=1000))
    assert cells(table, OURS)["epoch, s"] == "10.0"
    assert cells(table, OURS)["targets a CPU second"] == "200"
    peer = cells(table, "peer")
    assert (peer["of an epoch"], peer["targets a step"]) == ("50%", "10")
    assert (peer["epoch, s"], peer["times ours, s"]) == ("40.0", "4.00x")
    assert peer["times ours, CPU s"] == "8.00x"


def test_a_peers_own_figures_stand_beside_ours():
    def model(name, reported):
        return Quality(
            name=name, epochs=9, best_epoch=4, seconds=60.0, cpu_seconds=50.0, validation_ndcg=0.06,
            masked={"hr@10": 0.08, "ndcg@10": 0.05}, unmasked={"hr@10": 0.07, "ndcg@10": 0.04},
            reported=reported,
        )  # fmt: skip

    own = {"hit@10": 0.0701, "ndcg@10": 0.0402}
    table = list(quality_table([model(OURS, None), model("peer", own)]))
    assert cells(table, OURS)["hr@10, its own evaluation"] == "-"
    peer = cells(table, "peer")
    assert (peer["epochs (best)"], peer["hr@10, masked"]) == ("9 (4)", "0.0800")
    assert (peer["hr@10, unmasked"], peer["hr@10, its own evaluation"]) == ("0.0700", "0.0701")
    assert peer["ndcg@10, its own evaluation"] == "0.0402"
