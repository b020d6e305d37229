"""The bundle whose semantic IDs are made."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from shared.contracts.embedding import EmbedResponse
from shared.database.bundles import BundleRepository
from shared.errors import NotFoundError, UnavailableError
from shared.modeling.modality import CONTENT_MODALITIES, Modality


@dataclass(frozen=True)
class TargetBundle:
    """`revisions`: the encoder of each content modality that the bundle was trained with."""

    version: str
    revisions: Mapping[Modality, str]

    def require_encoders_of(self, response: EmbedResponse) -> None:
        """Raises UnavailableError where vectors come from other encoders than the bundle's."""
        served = {
            Modality.TEXT: response.text_revision,
            Modality.VISUAL: response.image_revision,
        }
        for modality, revision in self.revisions.items():
            if served[modality] != revision:
                raise UnavailableError(
                    f"Bundle {self.version} was trained with the {modality} encoder {revision}, "
                    f"but the embedding service runs {served[modality]}: train a new bundle or "
                    "run the former encoder"
                )


async def target_bundle(
    session: AsyncSession, catalog_id: str, version: str | None
) -> TargetBundle:
    """The bundle named, or the live one.

    Raises:
        NotFoundError: the catalogue has no bundle of this version.
        UnavailableError: no bundle is live.
    """
    bundles = BundleRepository(session, catalog_id)
    row = await bundles.live() if version is None else await bundles.get(version)
    if row is None and version is None:
        raise UnavailableError(f"Catalogue {catalog_id} has no live bundle yet", retry_after_s=30)
    if row is None:
        raise NotFoundError(f"Catalogue {catalog_id} has no bundle {version}")
    encoders = row.manifest["encoders"]
    return TargetBundle(
        version=row.version,
        revisions={
            modality: encoders[modality.value]
            for modality in CONTENT_MODALITIES
            if modality.value in encoders
        },
    )
