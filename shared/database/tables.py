"""The tables. Postgres is the truth; every row belongs to one catalogue."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.positives import EventType


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        float: Double,
        bytes: LargeBinary,
    }


class ItemRow(Base):
    """An item as it was posted. `ordinal` gives pages a stable order."""

    __tablename__ = "items"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'ready', 'failed')", name="status"),
        Index("ix_items_page", "catalog_id", "ordinal", unique=True),
    )

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(BigInteger, Identity())
    version: Mapped[int]
    content_hash: Mapped[str]
    status: Mapped[str]
    problem: Mapped[dict[str, Any] | None]
    title: Mapped[str]
    description: Mapped[str]
    categories: Mapped[list[str]]
    brand: Mapped[str | None]
    attributes: Mapped[dict[str, Any]]
    image_sha256: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ItemEmbeddingRow(Base):
    """One vector (float16, little endian) of one item, modality and encoder revision.

    The revision of an imputed collaborative vector is the version of the bundle it belongs to.
    """

    __tablename__ = "item_embeddings"
    __table_args__ = (
        ForeignKeyConstraint(
            ["catalog_id", "item_id"], ["items.catalog_id", "items.item_id"], ondelete="CASCADE"
        ),
    )

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    modality: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    item_version: Mapped[int]
    vector: Mapped[bytes]


class SemanticIdRow(Base):
    """The semantic IDs of one item under one bundle, with the neighbours used to impute."""

    __tablename__ = "semantic_ids"
    __table_args__ = (
        ForeignKeyConstraint(
            ["catalog_id", "item_id"], ["items.catalog_id", "items.item_id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["catalog_id", "bundle"], ["bundles.catalog_id", "bundles.version"], ondelete="CASCADE"
        ),
    )

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    bundle: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    item_version: Mapped[int]
    codes: Mapped[dict[str, Any]]
    imputed: Mapped[list[str]]
    neighbours: Mapped[list[Any]]


class InteractionRow(Base):
    """A user did something with an item. `id` settles the order of equal times."""

    __tablename__ = "interactions"
    __table_args__ = (
        CheckConstraint(
            "event_type IN ('interaction', 'view', 'click', 'cart', 'purchase', 'rating')",
            name="event_type",
        ),
        Index("ix_interactions_user", "catalog_id", "user_id", "occurred_at", "id"),
        Index(
            "uq_interactions_event",
            "catalog_id",
            "event_id",
            unique=True,
            postgresql_where=text("event_id IS NOT NULL"),
        ),
        Index(
            "ix_interactions_recommendation",
            "catalog_id",
            "recommendation_id",
            postgresql_where=text("recommendation_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    catalog_id: Mapped[str]
    user_id: Mapped[str]
    item_id: Mapped[str]
    event_type: Mapped[EventType] = mapped_column(Text)
    occurred_at: Mapped[datetime]
    rating: Mapped[float | None]
    recommendation_id: Mapped[str | None]
    event_id: Mapped[str | None]


class TrainingRunRow(Base):
    """A training run; a catalogue has one unfinished at most.

    `lease_token` rises with every owner: a former owner's writes are refused.
    `last_interaction_id`: its snapshot holds all interactions up to this one.
    """

    __tablename__ = "training_runs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"
        ),
        CheckConstraint("trigger IN ('api', 'schedule', 'volume', 'retry')", name="trigger"),
        Index("ix_training_runs_newest", "catalog_id", "created_at"),
        Index(
            "uq_training_runs_unfinished",
            "catalog_id",
            unique=True,
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    catalog_id: Mapped[str]
    state: Mapped[str]
    request: Mapped[dict[str, Any]]
    trigger: Mapped[str] = mapped_column(server_default=text("'api'"))
    retry_of: Mapped[UUID | None]
    stages: Mapped[list[Any]]
    last_interaction_id: Mapped[int | None] = mapped_column(BigInteger)
    bundle: Mapped[str | None]
    problem: Mapped[dict[str, Any] | None]
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    lease_token: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class TrainingLogRow(Base):
    """A line of a run's log. `id` gives the lines their order."""

    __tablename__ = "training_log"
    __table_args__ = (
        ForeignKeyConstraint(["run_id"], ["training_runs.run_id"], ondelete="CASCADE"),
        Index("ix_training_log_run", "run_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[UUID]
    logged_at: Mapped[datetime]
    level: Mapped[str]
    event: Mapped[str]
    fields: Mapped[dict[str, Any]]


class TrainingScheduleRow(Base):
    """When a catalogue is trained on without being asked: by the clock, by new interactions."""

    __tablename__ = "training_schedules"
    __table_args__ = (CheckConstraint("new_interactions > 0", name="new_interactions"),)

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    cron: Mapped[str | None]
    new_interactions: Mapped[int | None] = mapped_column(BigInteger)
    request: Mapped[dict[str, Any]]
    next_run_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EmbeddingBackfillRow(Base):
    """Embedding a whole catalogue anew; a catalogue has one unfinished at most.

    `revisions`: the encoders' by modality.
    """

    __tablename__ = "embedding_backfills"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'succeeded', 'cancelled')", name="state"),
        Index(
            "uq_embedding_backfills_unfinished",
            "catalog_id",
            unique=True,
            postgresql_where=text("state = 'running'"),
        ),
    )

    backfill_id: Mapped[UUID] = mapped_column(primary_key=True)
    catalog_id: Mapped[str]
    state: Mapped[str]
    revisions: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class EmbeddingBackfillChunkRow(Base):
    """The items of a backfill with ordinals in a range: one task's work.

    `lease_token` rises with every owner, as in a training run. `embedded` and `failed` count items.
    """

    __tablename__ = "embedding_backfill_chunks"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'running', 'done')", name="state"),
        ForeignKeyConstraint(
            ["backfill_id"], ["embedding_backfills.backfill_id"], ondelete="CASCADE"
        ),
    )

    backfill_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    first_ordinal: Mapped[int] = mapped_column(BigInteger)
    last_ordinal: Mapped[int] = mapped_column(BigInteger)
    items: Mapped[int]
    state: Mapped[str]
    embedded: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    lease_token: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    lease_expires_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class BundleRow(Base):
    """A published bundle. At most one of a catalogue is live."""

    __tablename__ = "bundles"
    __table_args__ = (
        CheckConstraint("state IN ('published', 'live', 'retired')", name="state"),
        Index(
            "uq_bundles_live",
            "catalog_id",
            unique=True,
            postgresql_where=text("state = 'live'"),
        ),
    )

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    run_id: Mapped[UUID | None]
    manifest: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    activated_at: Mapped[datetime | None]


class TrafficShareRow(Base):
    """The percentage of users who are served from a bundle that is not live; the rest get the
    live one."""

    __tablename__ = "traffic_shares"
    __table_args__ = (
        CheckConstraint("percent > 0 AND percent < 100", name="percent"),
        ForeignKeyConstraint(
            ["catalog_id", "version"], ["bundles.catalog_id", "bundles.version"], ondelete="CASCADE"
        ),
    )

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    percent: Mapped[float]


class RecommendationRow(Base):
    """A list that was given to somebody: what events with its id are attributed to.

    Rows come in the order of their time, so an index of blocks finds the old ones.
    """

    __tablename__ = "recommendations"
    __table_args__ = (
        Index("ix_recommendations_bundle", "catalog_id", "bundle", "served_at"),
        Index(
            "ix_recommendations_user",
            "catalog_id",
            "user_id",
            postgresql_where=text("user_id IS NOT NULL"),
        ),
        Index("ix_recommendations_served_at", "served_at", postgresql_using="brin"),
    )

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    recommendation_id: Mapped[str] = mapped_column(primary_key=True)
    bundle: Mapped[str]
    user_id: Mapped[str | None]
    source: Mapped[str]
    fallback: Mapped[str | None]
    item_ids: Mapped[list[str]]
    latency_ms: Mapped[float]
    served_at: Mapped[datetime]


class ForgottenUserRow(Base):
    """A user was forgotten: lists that gateways had given before and write later are nobody's.

    Of the id only its SHA-256 is kept, as long as lists are.
    """

    __tablename__ = "forgotten_users"

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    user_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    forgotten_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKeyRow(Base):
    """An API key; only its SHA-256 is kept. A key opens one catalogue."""

    __tablename__ = "api_keys"

    key_sha256: Mapped[str] = mapped_column(primary_key=True)
    catalog_id: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class OutboxRow(Base):
    """Work that an accepted change of an item still needs. One row an item: the latest change."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("action IN ('upsert', 'delete')", name="action"),
        Index("ix_outbox_due", "next_attempt_at"),
    )

    catalog_id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True)
    item_version: Mapped[int]
    action: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
