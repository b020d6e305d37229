import pytest

from experiments.method import read_method, table_methods
from shared.errors import InvalidInputError
from shared.modeling.item_encoder import EQUATION_16
from shared.modeling.modality import Modality


def test_the_rows_of_a_table_come_in_its_order():
    names = [method.name for method in table_methods("table3")]
    assert names[:3] == ["popularity", "SASRec", "E4SRec"]
    assert names[-1] == "mmesid"


def test_the_defaults_of_a_row_are_the_method_of_the_paper():
    (method,) = table_methods("table3", ["mme-sid"])
    assert method.input == EQUATION_16
    assert method.modalities == tuple(Modality)
    assert (method.codes, method.fused, method.quantizer, method.ranker) == (
        "quantized", True, {}, {},
    )  # fmt: skip


def test_rows_are_chosen_by_their_name_or_their_files():
    chosen = table_methods("table3", ["Concat&MLP", "sasrec", "e4srec"])
    assert [method.name for method in chosen] == ["SASRec", "E4SRec", "Concat&MLP"]


@pytest.mark.parametrize(
    ("table", "names", "field"),
    [("table9", None, "table"), ("table3", ["SASRec", "BERT4Rec"], "methods")],
)
def test_an_unknown_table_or_row_is_named(table, names, field):
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        table_methods(table, names)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("- a list", "method"),
        ("{name: A, model: ranker, inputs: {}}", "inputs"),
        ("{name: A, model: oracle}", "model"),
        ("{name: A, model: ranker, codes: morse}", "codes"),
        ("{name: A, model: ranker, modalities: [smell]}", "method"),
        ("{name: A, model: ranker, input: {joined: glue}}", "form.joined"),
        ("{model: ranker}", "method"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, text, field):
    file = tmp_path / "row.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        read_method(file)
