"""connectors of telephony platforms."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "connectors",
        sa.Column("connector_id", sa.String(22), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("domain_id", sa.String(22), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
        sa.Column("speaker_from", sa.String(256)),
        sa.Column("enrolls", sa.Boolean, nullable=False),
        sa.Column("acceptance_threshold", sa.Integer),
        sa.Column("risk_threshold", sa.Integer),
        sa.Column("watchlist_id", sa.String(22)),
        sa.Column("authentication_minimum_s", sa.Integer),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("connector_id", name=op.f("pk_connectors")),
        sa.UniqueConstraint("name", name=op.f("uq_connectors_name")),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_connectors_domain_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(op.f("ix_connectors_domain_id"), "connectors", ["domain_id"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("connectors")
