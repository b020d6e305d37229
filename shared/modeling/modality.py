"""The three modalities of an item, and the order of the parts of its score (Eq. 18)."""

from enum import StrEnum


class Modality(StrEnum):
    """The j of the paper's equations: c, t and v."""

    COLLABORATIVE = "collaborative"
    TEXT = "text"
    VISUAL = "visual"


CONTENT_MODALITIES = (Modality.TEXT, Modality.VISUAL)
