"""Notes of what changed about fraudsters."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "fraudster_changes",
        sa.Column("domain_id", sa.String(22), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("mark", sa.BigInteger, nullable=False),
        sa.Column("fraudster_id", sa.String(25), nullable=False),
        sa.PrimaryKeyConstraint("domain_id", "number", name=op.f("pk_fraudster_changes")),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_fraudster_changes_domain_id"),
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("fraudster_changes")
