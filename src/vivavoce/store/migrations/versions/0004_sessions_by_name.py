"""sessions by name."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index(op.f("ix_sessions_name"), "sessions", ["name"])


def downgrade() -> None:
    """Take back."""
    op.drop_index(op.f("ix_sessions_name"), "sessions")
