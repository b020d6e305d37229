"""The image that comes with an item: by URL, as base64 or as a file."""

import asyncio
import base64
import binascii

import httpx

from shared.errors import BrokenImageError, FieldProblem
from shared.image_fetch import FetchPolicy, fetch_image
from shared.images import ImageLimits, decode_image, require_bytes_within
from shared.settings import ImageSettings

MAX_DECODED_AT_ONCE = 2  # one image within the limits may take 200 MB while it is decoded


class ItemImages:
    """Reads images and makes sure that they can be decoded, before anything is stored."""

    def __init__(self, client: httpx.AsyncClient, settings: ImageSettings) -> None:
        self._client = client
        self._limits = ImageLimits(settings.max_bytes, settings.max_pixels)
        self._policy = FetchPolicy(settings.fetch_timeout_s, settings.allow_private_hosts)
        self._decoding = asyncio.Semaphore(MAX_DECODED_AT_ONCE)

    async def read(
        self, *, url: str | None, encoded: str | None, data: bytes | None
    ) -> bytes | None:
        """The bytes of the one image given, or None.

        Raises:
            BrokenImageError: no image that can be read.
            InvalidInputError: the URL is wrong or not public.
            PayloadTooLargeError: too many bytes or pixels.
            UnavailableError: the host of the URL does not answer.
        """
        if url is not None:
            fetched = await fetch_image(
                url, client=self._client, limits=self._limits, policy=self._policy
            )
            return await self._checked(fetched, "image_url")
        if encoded is not None:
            return await self._checked(self._from_base64(encoded), "image_base64")
        if data is not None:
            return await self._checked(data, "image")
        return None

    def _from_base64(self, encoded: str) -> bytes:
        require_bytes_within(len(encoded) * 3 // 4 - 2, field="image_base64", limits=self._limits)
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            cause = f"is not valid base64: {error}"
            raise BrokenImageError(
                f"image_base64: {cause}", fields=[FieldProblem("image_base64", cause)]
            ) from error

    async def _checked(self, data: bytes, field: str) -> bytes:
        async with self._decoding:
            await asyncio.to_thread(decode_image, data, field=field, limits=self._limits)
        return data
