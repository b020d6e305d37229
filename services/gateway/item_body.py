"""The body of POST /v1/items: JSON, or a form with the JSON and the image as a file."""

from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from services.gateway.content_type import content_type_of, unsupported
from services.gateway.problems import invalid_model
from shared.contracts.public import ItemCreate
from shared.errors import InvalidInputError

MAX_JSON_IN_FORM = 2 * 2**20

OPENAPI_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": ItemCreate.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["item"],
                    "properties": {
                        "item": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "the JSON of an item without an image",
                        },
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "a JPEG, PNG, WebP or GIF",
                        },
                    },
                }
            },
        },
    }
}


async def read_item_body(request: Request) -> tuple[ItemCreate, bytes | None]:
    """The item, and the image where it came as a file.

    Raises:
        InvalidInputError: the JSON or a field is wrong.
        UnsupportedMediaTypeError: neither JSON nor a form.
    """
    kind = content_type_of(request)
    if kind == "application/json":
        return _item(await request.body()), None
    if kind == "multipart/form-data":
        return await _from_form(request)
    raise unsupported(kind, "send application/json or multipart/form-data")


async def _from_form(request: Request) -> tuple[ItemCreate, bytes | None]:
    try:
        form = await request.form(max_files=4, max_fields=4, max_part_size=MAX_JSON_IN_FORM)
    except HTTPException as error:  # what Starlette makes of a form that it cannot read
        raise InvalidInputError.of("body", f"malformed form: {error.detail}") from error
    try:
        return await _parts(form)
    finally:
        await form.close()


async def _parts(form: FormData) -> tuple[ItemCreate, bytes | None]:
    unknown = sorted(form.keys() - {"item", "image"})
    if unknown:
        raise InvalidInputError.of(unknown[0], "a form has the fields item and image only")
    for name in form:
        if len(form.getlist(name)) > 1:
            raise InvalidInputError.of(name, "is given more than once")
    item, image = form.get("item"), form.get("image")
    if item is None:
        raise InvalidInputError.of("item", "the form lacks this field, the JSON of the item")
    create = _item(await item.read() if isinstance(item, UploadFile) else item)
    if image is None:
        return create, None
    if not isinstance(image, UploadFile):
        raise InvalidInputError.of("image", "must be a file")
    if create.image_url is not None or create.image_base64 is not None:
        raise InvalidInputError.of("image", "give the file, image_url or image_base64, one")
    return create, await image.read()


def _item(document: str | bytes) -> ItemCreate:
    try:
        return ItemCreate.model_validate_json(document)
    except ValidationError as error:
        raise invalid_model(error) from error
