"""The answer of a call that has nothing to say but that it was done."""

from shared.contracts.common import Contract


class Done(Contract):
    """What was asked is done."""
