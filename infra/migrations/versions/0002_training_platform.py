"""training platform"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "embedding_backfills",
        sa.Column("backfill_id", sa.Uuid(), nullable=False),
        sa.Column("catalog_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revisions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'succeeded', 'cancelled')",
            name=op.f("ck_embedding_backfills_state"),
        ),
        sa.PrimaryKeyConstraint("backfill_id", name=op.f("pk_embedding_backfills")),
    )
    op.create_index(
        "uq_embedding_backfills_unfinished",
        "embedding_backfills",
        ["catalog_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "forgotten_users",
        sa.Column("catalog_id", sa.Text(), nullable=False),
        sa.Column("user_sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "forgotten_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("catalog_id", "user_sha256", name=op.f("pk_forgotten_users")),
    )
    op.create_table(
        "recommendations",
        sa.Column("catalog_id", sa.Text(), nullable=False),
        sa.Column("recommendation_id", sa.Text(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fallback", sa.Text(), nullable=True),
        sa.Column("item_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("catalog_id", "recommendation_id", name=op.f("pk_recommendations")),
    )
    op.create_index(
        "ix_recommendations_bundle",
        "recommendations",
        ["catalog_id", "bundle", "served_at"],
        unique=False,
    )
    op.create_index(
        "ix_recommendations_user",
        "recommendations",
        ["catalog_id", "user_id"],
        unique=False,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index(
        "ix_recommendations_served_at",
        "recommendations",
        ["served_at"],
        unique=False,
        postgresql_using="brin",
    )
    op.create_table(
        "training_schedules",
        sa.Column("catalog_id", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("new_interactions", sa.BigInteger(), nullable=True),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "new_interactions > 0", name=op.f("ck_training_schedules_new_interactions")
        ),
        sa.PrimaryKeyConstraint("catalog_id", name=op.f("pk_training_schedules")),
    )
    op.create_table(
        "embedding_backfill_chunks",
        sa.Column("backfill_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_ordinal", sa.BigInteger(), nullable=False),
        sa.Column("last_ordinal", sa.BigInteger(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("embedded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done')",
            name=op.f("ck_embedding_backfill_chunks_state"),
        ),
        sa.ForeignKeyConstraint(
            ["backfill_id"],
            ["embedding_backfills.backfill_id"],
            name=op.f("fk_embedding_backfill_chunks_embedding_backfills"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("backfill_id", "number", name=op.f("pk_embedding_backfill_chunks")),
    )
    op.create_table(
        "traffic_shares",
        sa.Column("catalog_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("percent", sa.Double(), nullable=False),
        sa.CheckConstraint("percent > 0 AND percent < 100", name=op.f("ck_traffic_shares_percent")),
        sa.ForeignKeyConstraint(
            ["catalog_id", "version"],
            ["bundles.catalog_id", "bundles.version"],
            name=op.f("fk_traffic_shares_bundles"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("catalog_id", "version", name=op.f("pk_traffic_shares")),
    )
    op.create_table(
        "training_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("logged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["training_runs.run_id"],
            name=op.f("fk_training_log_training_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_log")),
    )
    op.create_index("ix_training_log_run", "training_log", ["run_id", "id"], unique=False)
    # Kinds were free text: one that is not known now is of no known kind.
    op.execute(
        "UPDATE interactions SET event_type = 'interaction' WHERE event_type NOT IN"
        " ('interaction', 'view', 'click', 'cart', 'purchase', 'rating')"
    )
    op.create_check_constraint(
        op.f("ck_interactions_event_type"),
        "interactions",
        "event_type IN ('interaction', 'view', 'click', 'cart', 'purchase', 'rating')",
    )
    op.create_index(
        "ix_interactions_recommendation",
        "interactions",
        ["catalog_id", "recommendation_id"],
        unique=False,
        postgresql_where=sa.text("recommendation_id IS NOT NULL"),
    )
    op.add_column(
        "training_runs",
        sa.Column("trigger", sa.Text(), server_default=sa.text("'api'"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_training_runs_trigger"),
        "training_runs",
        "trigger IN ('api', 'schedule', 'volume', 'retry')",
    )
    op.add_column("training_runs", sa.Column("retry_of", sa.Uuid(), nullable=True))
    op.add_column("training_runs", sa.Column("last_interaction_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("training_runs", "last_interaction_id")
    op.drop_column("training_runs", "retry_of")
    op.drop_constraint(op.f("ck_training_runs_trigger"), "training_runs")
    op.drop_column("training_runs", "trigger")
    op.drop_constraint(op.f("ck_interactions_event_type"), "interactions")
    op.drop_index(
        "ix_interactions_recommendation",
        table_name="interactions",
        postgresql_where=sa.text("recommendation_id IS NOT NULL"),
    )
    op.drop_index("ix_training_log_run", table_name="training_log")
    op.drop_table("training_log")
    op.drop_table("traffic_shares")
    op.drop_table("embedding_backfill_chunks")
    op.drop_table("training_schedules")
    op.drop_index(
        "ix_recommendations_served_at", table_name="recommendations", postgresql_using="brin"
    )
    op.drop_index(
        "ix_recommendations_user",
        table_name="recommendations",
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.drop_index("ix_recommendations_bundle", table_name="recommendations")
    op.drop_table("recommendations")
    op.drop_table("forgotten_users")
    op.drop_index(
        "uq_embedding_backfills_unfinished",
        table_name="embedding_backfills",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.drop_table("embedding_backfills")
