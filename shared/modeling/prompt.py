"""The ranker's prompt: chat template, instruction, ONE token an item, response header (Sec. 4.3).

    <begin><user header> instruction  x_1 x_2 ... x_n  <end of turn><assistant header>
    |------------- prefix -----------|---- items -----|------------ suffix -----------|

The LLM's hidden state at the last token of the suffix is o_LLM. An item is the token id
`vocabulary_size + row`: its embedding is a row of the item encoder's table, not of the LLM's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import InvalidInputError

DEFAULT_MAX_HISTORY = 50
DEFAULT_INSTRUCTION = (
    "These are the items a user interacted with, oldest first. Predict the next item."
)
_ITEMS = "[[ITEMS]]"


@dataclass(frozen=True)
class PromptTemplate:
    """Token ids before and after the items. Item `row` is the token `vocabulary_size + row`."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    vocabulary_size: int
    max_history: int = DEFAULT_MAX_HISTORY

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        vocabulary_size: int,
        instruction: str = DEFAULT_INSTRUCTION,
        max_history: int = DEFAULT_MAX_HISTORY,
    ) -> "PromptTemplate":
        """Render the tokenizer's chat template with a placeholder for the items and split there.

        vocabulary_size: rows of the base model's token table (at least the tokenizer's length).

        Raises InvalidInputError when the tokenizer has no chat template, the template drops the
        user's words or ends in no response header, or max_history is below 1.
        """
        if max_history < 1:
            raise InvalidInputError.of("max_history", f"must be at least 1, is {max_history}")
        if not tokenizer.chat_template:
            raise InvalidInputError.of("tokenizer", "has no chat template")
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": f"{instruction}\n{_ITEMS}"}],
            tokenize=False,
            add_generation_prompt=True,
        )
        before, placeholder, after = rendered.partition(_ITEMS)
        if not placeholder:
            raise InvalidInputError.of("tokenizer.chat_template", "drops the user's message")
        prefix = tokenizer.encode(before, add_special_tokens=False)
        suffix = tokenizer.encode(after, add_special_tokens=False)
        if not suffix:
            raise InvalidInputError.of("tokenizer.chat_template", "ends in no response header")
        return cls(tuple(prefix), tuple(suffix), vocabulary_size, max_history)

    def recent(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The last `max_history` item rows: what the LLM sees of a history (oldest first)."""
        return np.asarray(rows, dtype=np.int64)[-self.max_history :]

    def token_ids(self, rows: Sequence[int] | NDArray[np.int64]) -> list[int]:
        """The whole prompt of a history of item rows, oldest first. It may be empty."""
        items = (self.recent(rows) + self.vocabulary_size).tolist()
        return [*self.prefix, *items, *self.suffix]

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return len(self.prefix) + self.max_history + len(self.suffix)

    def as_dict(self) -> dict[str, Any]:
        return {
            "prefix": list(self.prefix),
            "suffix": list(self.suffix),
            "vocabulary_size": self.vocabulary_size,
            "max_history": self.max_history,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "PromptTemplate":
        return cls(
            prefix=tuple(document["prefix"]),
            suffix=tuple(document["suffix"]),
            vocabulary_size=document["vocabulary_size"],
            max_history=document["max_history"],
        )
