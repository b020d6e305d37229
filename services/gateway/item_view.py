"""Stored rows as the API shows them."""

from shared.contracts.common import Problem
from shared.contracts.public import Item
from shared.database.semantic_ids import ItemSemanticIds
from shared.database.tables import ItemRow


def item_view(row: ItemRow, bundle: str | None, semantic_ids: ItemSemanticIds | None) -> Item:
    """`semantic_ids`: those of the row's version under `bundle`, the live one."""
    return Item(
        item_id=row.item_id,
        version=row.version,
        status=row.status,
        title=row.title,
        description=row.description,
        categories=row.categories,
        brand=row.brand,
        attributes=row.attributes,
        image_sha256=row.image_sha256,
        bundle=None if semantic_ids is None else bundle,
        semantic_ids=(
            None
            if semantic_ids is None
            else {modality: list(codes) for modality, codes in semantic_ids.codes.items()}
        ),
        imputed=[] if semantic_ids is None else list(semantic_ids.imputed),
        problem=None if row.problem is None else Problem.model_validate(row.problem),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
