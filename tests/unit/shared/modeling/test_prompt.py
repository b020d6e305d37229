import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from shared.errors import InvalidInputError
from shared.modeling.prompt import PromptTemplate

LLAMA3_TEMPLATE = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
    "'<|end_header_id|>' + '\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>' + '\n\n' }}"
    "{% endif %}"
)
SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def _tokenizer(template):
    words = [*SPECIAL, "?", "user", "assistant", "guess", "next"]
    inner = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, "?"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="?", additional_special_tokens=SPECIAL
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def template():
    return PromptTemplate.from_tokenizer(
        _tokenizer(LLAMA3_TEMPLATE), vocabulary_size=100, instruction="guess next", max_history=3
    )


def test_a_llama_3_template_is_split_around_the_items(template):
    begin, start, end, turn = range(4)
    user, assistant, guess, following = 5, 6, 7, 8
    assert template.prefix == (begin, start, user, end, guess, following)
    assert template.suffix == (turn, start, assistant, end)
    assert template.token_ids([0, 5]) == [*template.prefix, 100, 105, *template.suffix]


def test_only_the_latest_items_of_a_long_history_are_in_the_prompt(template):
    history = np.arange(7)
    assert template.recent(history).tolist() == [4, 5, 6]
    assert template.token_ids(history) == [*template.prefix, 104, 105, 106, *template.suffix]
    assert len(template.token_ids(history)) == template.longest


def test_an_empty_history_is_a_prompt_without_items(template):
    assert template.token_ids([]) == [*template.prefix, *template.suffix]


def test_a_template_survives_its_document(template):
    assert PromptTemplate.from_dict(template.as_dict()) == template


@pytest.mark.parametrize(
    ("chat_template", "cause"),
    [
        (None, "no chat template"),
        ("{% if add_generation_prompt %}assistant{% endif %}", "drops the user's message"),
        ("{{ messages[0]['content'] }}", "no response header"),
    ],
)
def test_an_unfit_chat_template_is_named_with_the_cause(chat_template, cause):
    with pytest.raises(InvalidInputError, match=cause):
        PromptTemplate.from_tokenizer(_tokenizer(chat_template), vocabulary_size=9)


def test_a_history_of_no_length_is_refused():
    with pytest.raises(InvalidInputError, match="max_history"):
        PromptTemplate.from_tokenizer(_tokenizer(LLAMA3_TEMPLATE), vocabulary_size=9, max_history=0)
