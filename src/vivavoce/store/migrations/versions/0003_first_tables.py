"""first tables."""

import sqlalchemy as sa
from alembic import context, op

from vivavoce.store import audit

revision = "0003"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "access_keys",
        sa.Column("access_key_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_session_token", sa.LargeBinary(), nullable=True),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("access_key_id", name=op.f("pk_access_keys")),
    )
    op.create_table(
        "audit",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_at_ms"), ["at_ms"], unique=False)

    op.create_table(
        "audit_head",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "domains",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("arn", sa.String(length=1011), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("sealed_index_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_description", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_tags", sa.LargeBinary(), nullable=False),
        sa.Column("kms_key_id", sa.String(length=2048), nullable=False),
        sa.Column("old_kms_key_id", sa.String(length=2048), nullable=True),
        sa.Column("encryption_status", sa.String(length=16), nullable=True),
        sa.Column("encryption_message", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("default_watchlist_id", sa.String(length=22), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_domains")),
        sa.UniqueConstraint("domain_id", name=op.f("uq_domains_domain_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("domains", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_domains_region"), ["region"], unique=False)

    op.create_table(
        "idempotency_tokens",
        sa.Column("scope", sa.String(length=128), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("resource_id", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "token", name=op.f("pk_idempotency_tokens")),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("sink", sa.String(length=32), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=36), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("is_dead", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(
            "ix_outbox_sink_is_dead_sequence", ["sink", "is_dead", "sequence"], unique=False
        )
        batch_op.create_index("ix_outbox_sink_resource", ["sink", "resource", "sequence"], unique=False)

    op.create_table(
        "domain_keys",
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kms_key_id", sa.String(length=2048), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_domain_keys_domain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("domain_id", "number", name=op.f("pk_domain_keys")),
    )
    op.create_table(
        "fraudsters",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("fraudster_id", sa.String(length=25), nullable=False),
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_fraudsters_domain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_fraudsters")),
        sa.UniqueConstraint("fraudster_id", name=op.f("uq_fraudsters_fraudster_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("fraudsters", schema=None) as batch_op:
        batch_op.create_index(
            "ix_fraudsters_domain_id_sequence", ["domain_id", "sequence"], unique=False
        )

    op.create_table(
        "jobs",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("job_id", sa.String(length=22), nullable=False),
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("role_arn", sa.String(length=2048), nullable=False),
        sa.Column("input_uri", sa.Text(), nullable=False),
        sa.Column("output_uri", sa.Text(), nullable=False),
        sa.Column("output_kms_key_id", sa.String(length=2048), nullable=True),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("percent_complete", sa.Integer(), nullable=False),
        sa.Column("failure_code", sa.Integer(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.domain_id"], name=op.f("fk_jobs_domain_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_jobs")),
        sa.UniqueConstraint("job_id", name=op.f("uq_jobs_job_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_domain_id_sequence", ["domain_id", "sequence"], unique=False)

    op.create_table(
        "sessions",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("session_id", sa.String(length=25), nullable=False),
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("name", sa.String(length=36), nullable=False),
        sa.Column("speaker_id", sa.String(length=25), nullable=True),
        sa.Column("sealed_customer_id", sa.LargeBinary(), nullable=True),
        sa.Column("authentication_enabled", sa.Boolean(), nullable=False),
        sa.Column("fraud_detection_enabled", sa.Boolean(), nullable=False),
        sa.Column("acceptance_threshold", sa.Integer(), nullable=False),
        sa.Column("risk_threshold", sa.Integer(), nullable=False),
        sa.Column("watchlist_id", sa.String(length=22), nullable=False),
        sa.Column("authentication_minimum_s", sa.Integer(), nullable=False),
        sa.Column("stream_number", sa.Integer(), nullable=False),
        sa.Column("streaming_status", sa.String(length=24), nullable=False),
        sa.Column("stream_expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("stream_started_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("received_s", sa.Float(), nullable=False),
        sa.Column("net_speech_s", sa.Float(), nullable=False),
        sa.Column("lost_s", sa.Float(), nullable=False),
        sa.Column("quality", sa.String(length=16), nullable=False),
        sa.Column("enrollment_status", sa.String(length=24), nullable=True),
        sa.Column("enrollment_message", sa.Text(), nullable=True),
        sa.Column("enrolled_stream", sa.Integer(), nullable=True),
        sa.Column("speech_s", sa.Float(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("sealed_speech", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_sessions_domain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_sessions")),
        sa.UniqueConstraint("domain_id", "name", name=op.f("uq_sessions_domain_id_name")),
        sa.UniqueConstraint("session_id", name=op.f("uq_sessions_session_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index(
            "ix_sessions_domain_id_sequence", ["domain_id", "sequence"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_sessions_streaming_status"), ["streaming_status"], unique=False
        )

    op.create_table(
        "speakers",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("speaker_id", sa.String(length=25), nullable=False),
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("customer_id_index", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed_customer_id", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_accessed_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_speakers_domain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_speakers")),
        sa.UniqueConstraint(
            "domain_id", "customer_id_index", name=op.f("uq_speakers_domain_id_customer_id_index")
        ),
        sa.UniqueConstraint("speaker_id", name=op.f("uq_speakers_speaker_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("speakers", schema=None) as batch_op:
        batch_op.create_index(
            "ix_speakers_domain_id_sequence", ["domain_id", "sequence"], unique=False
        )
        batch_op.create_index("ix_speakers_last_accessed_ms", ["last_accessed_ms"], unique=False)

    op.create_table(
        "voiceprints",
        sa.Column("owner_id", sa.String(length=25), nullable=False),
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("sealed_vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("spoof_model", sa.Text(), nullable=True),
        sa.Column("spoof_synthetic", sa.Float(), nullable=True),
        sa.Column("spoof_playback", sa.Float(), nullable=True),
        sa.Column("sealed_speech", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_voiceprints_domain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_voiceprints")),
    )
    with op.batch_alter_table("voiceprints", schema=None) as batch_op:
        batch_op.create_index("ix_voiceprints_domain_id", ["domain_id"], unique=False)

    op.create_table(
        "watchlists",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("watchlist_id", sa.String(length=22), nullable=False),
        sa.Column("domain_id", sa.String(length=22), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_description", sa.LargeBinary(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"],
            ["domains.domain_id"],
            name=op.f("fk_watchlists_domain_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_watchlists")),
        sa.UniqueConstraint("watchlist_id", name=op.f("uq_watchlists_watchlist_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("watchlists", schema=None) as batch_op:
        batch_op.create_index(
            "ix_watchlists_domain_id_sequence", ["domain_id", "sequence"], unique=False
        )

    op.create_table(
        "evidence",
        sa.Column("session_id", sa.String(length=25), nullable=False),
        sa.Column("stream_number", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("net_speech_s", sa.Float(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("sealed_vector", sa.LargeBinary(), nullable=True),
        sa.Column("spoof_windows", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.session_id"],
            name=op.f("fk_evidence_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_evidence")),
    )
    op.create_table(
        "results",
        sa.Column("session_id", sa.String(length=25), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("result_id", sa.String(length=22), nullable=False),
        sa.Column("basis", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.session_id"],
            name=op.f("fk_results_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", "kind", name=op.f("pk_results")),
    )
    op.create_table(
        "watchlist_members",
        sa.Column("watchlist_id", sa.String(length=22), nullable=False),
        sa.Column("fraudster_id", sa.String(length=25), nullable=False),
        sa.ForeignKeyConstraint(
            ["fraudster_id"],
            ["fraudsters.fraudster_id"],
            name=op.f("fk_watchlist_members_fraudster_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["watchlist_id"],
            ["watchlists.watchlist_id"],
            name=op.f("fk_watchlist_members_watchlist_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("watchlist_id", "fraudster_id", name=op.f("pk_watchlist_members")),
    )
    with op.batch_alter_table("watchlist_members", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_watchlist_members_fraudster_id"), ["fraudster_id"], unique=False
        )

    connection = op.get_bind()
    for statement in audit.guard_statements(connection.dialect.name):
        connection.exec_driver_sql(statement)
    audit.AuditRows(connection, context.config.attributes["keys"]).begin()
