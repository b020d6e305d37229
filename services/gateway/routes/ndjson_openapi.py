"""Bodies and answers in NDJSON, as OpenAPI says them: by their lines."""

from typing import Any

from pydantic import BaseModel

from shared.contracts.public import BatchRow

NDJSON = "application/x-ndjson"


def ndjson_body(line: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that takes one `line` a line."""
    content = {NDJSON: {"schema": line.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def ndjson_rows(example: dict[str, Any]) -> dict[str, Any]:
    """The response of a route that answers with a `BatchRow` a line."""
    schema = BatchRow.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {
        "description": "One row a line of the request, in its order, as soon as it is known",
        "content": {NDJSON: {"schema": schema, "example": example}},
    }
