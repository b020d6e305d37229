from experiments.analysis_tables import analysis_sections

CODES = {"size": 8, "usage": [1.0, 0.5], "perplexity": [7.0, 3.0], "dead_codes": [0, 4]}
NOTHING = {"spectra": {}, "codes": {}, "tau": {}}


def result(collapsed, tau, collisions):
    return {
        "spectra": {"input": {"collapsed": collapsed}, "codes_text": {"collapsed": 0.75}},
        "codes": {"text": {**CODES, "collision_rate": collisions}},
        "tau": {"text": {"quantized": tau, "fine-tuned": 0.25, "distances": 300}},
    }


ROWS = {
    "popularity": [NOTHING],
    "SASRec": [{**NOTHING, "spectra": {"input": {"collapsed": 0.5}}}] * 2,
    "MME-SID": [result(0.1, 0.5, 0.02), result(0.3, 0.7, 0.04)],
}


def test_collapse_is_told_of_the_rows_and_tables_that_there_are():
    collapse, _, _ = analysis_sections(ROWS)
    assert collapse.splitlines()[2:] == [
        "| method | input | codes text |",
        "| --- | --- | --- |",
        "| SASRec | 0.5000 ± 0.0000 | - |",
        "| MME-SID | 0.2000 ± 0.1414 | 0.7500 ± 0.0000 |",
    ]


def test_the_use_of_codes_is_told_level_by_level():
    _, codes, _ = analysis_sections(ROWS)
    (line,) = codes.splitlines()[4:]
    assert line == "| MME-SID | text | 8 | 100%, 50% | 7.0, 3.0 | 0.0, 4.0 | 3.0% |"


def test_tau_is_told_after_quantization_and_after_fine_tuning():
    _, _, tau = analysis_sections(ROWS)
    assert tau.splitlines()[2:] == [
        "| method | modality | quantized | fine-tuned |",
        "| --- | --- | --- | --- |",
        "| MME-SID | text | 0.6000 ± 0.1414 | 0.2500 ± 0.0000 |",
    ]


def test_a_seed_without_distances_to_compare_is_left_out():
    _, _, tau = analysis_sections({"MME-SID": [result(0.1, None, 0.0), result(0.1, 0.7, 0.0)]})
    assert "| MME-SID | text | 0.7000 | 0.2500 ± 0.0000 |" in tau


def test_rows_without_any_analysis_have_no_sections():
    assert analysis_sections({"popularity": [NOTHING]}) == []
