"""Entries of batch jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COUNTS = ("entries", "entries_done", "entries_failed")


def upgrade() -> None:
    """Apply."""
    # Added, not copied into a new table: SQLite's AUTOINCREMENT would be lost with the old one.
    for name in _COUNTS:
        op.add_column("jobs", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "job_entries",
        sa.Column("entry_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(22), nullable=False),
        sa.Column("domain_id", sa.String(22), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("is_done", sa.Boolean, nullable=False),
        sa.Column("is_failed", sa.Boolean, nullable=False),
        sa.Column("sealed_request", sa.LargeBinary, nullable=False),
        sa.Column("sealed_outcome", sa.LargeBinary),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_job_entries")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name=op.f("fk_job_entries_job_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_job_entries_domain_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_job_entries_job_id", "job_entries", ["job_id", "is_done", "number"])
    op.create_index("ix_job_entries_domain_id", "job_entries", ["domain_id", "entry_id"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("job_entries")
    for name in _COUNTS:
        op.drop_column("jobs", name)
