"""Embedding service: text and images to vectors."""

from pydantic import Field, model_validator

from shared.contracts.common import Contract, Problem, Vector


class EmbedInput(Contract):
    """Text, an image, or both. An image comes as base64 or by URL."""

    text: str | None = Field(default=None, max_length=100_000)
    image_base64: str | None = None
    image_url: str | None = Field(default=None, max_length=2000)

    @model_validator(mode="after")
    def has_something_to_embed(self) -> "EmbedInput":
        if self.image_base64 is not None and self.image_url is not None:
            raise ValueError("give image_base64 or image_url, not both")
        if self.text is None and self.image_base64 is None and self.image_url is None:
            raise ValueError("give text, an image, or both")
        return self


class EmbedRequest(Contract):
    inputs: list[EmbedInput] = Field(min_length=1, max_length=256)


class EmbedOutput(Contract):
    """Vectors of L2 norm 1, or the problem that this input has; the others are not affected."""

    text: Vector | None = None
    visual: Vector | None = None
    problem: Problem | None = None


class EmbedResponse(Contract):
    outputs: list[EmbedOutput] = Field(description="one an input, in the order of the inputs")
    text_revision: str
    image_revision: str


class Encoder(Contract):
    source: str
    revision: str = Field(description="changes when weights or preprocessing change")
    dimension: int


class Encoders(Contract):
    text: Encoder
    image: Encoder
