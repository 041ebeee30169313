"""The tables. Instants are milliseconds since the epoch; `sealed` columns open only with a key.

Speech comes last in its row: it is half a megabyte, and SQLite walks through it to reach any column
behind it.

`sequence` orders rows as they were made, so that pages are cut by value and not by offset. It is
never given twice (`sqlite_autoincrement`; PostgreSQL's sequences never do that): a row made after
the last one was deleted is still behind it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts up on its own only for INTEGER, PostgreSQL wants 64 bits.
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


def _sequence() -> Column[int]:
    return Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True)


def _domain_id() -> Column[str]:
    return Column(
        "domain_id",
        String(22),
        ForeignKey("domains.domain_id", ondelete="CASCADE"),
        nullable=False,
    )


def _pages_of(table: str) -> Index:
    """Finds a domain's rows; makes the last page of them cost what the first one does."""
    return Index(f"ix_{table}_domain_id_sequence", "domain_id", "sequence")


access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key_id", String(128), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("sealed_session_token", LargeBinary),  # of temporary keys only
    Column("policy", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
)

domains = Table(
    "domains",
    metadata,
    _sequence(),
    Column("domain_id", String(22), nullable=False, unique=True),
    Column("arn", String(1011), nullable=False),
    Column("region", String(64), nullable=False, index=True),
    # Under the domain's key; the index key makes customer ids findable and outlives a change of it.
    Column("sealed_index_key", LargeBinary, nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("sealed_description", LargeBinary),
    Column("sealed_tags", LargeBinary, nullable=False),  # under the root key: who may do what
    Column("kms_key_id", String(2048), nullable=False),
    Column("old_kms_key_id", String(2048)),
    Column("encryption_status", String(16)),
    Column("encryption_message", Text),
    Column("status", String(16), nullable=False),
    Column("default_watchlist_id", String(22), nullable=False),
    Column("version", Integer, nullable=False),  # counts changes, for optimistic locking
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deleted_ms", BigInteger),
    sqlite_autoincrement=True,
)

# A domain has one data key, and two while it is re-encrypted. Each is wrapped by a customer's key.
domain_keys = Table(
    "domain_keys",
    metadata,
    Column(
        "domain_id",
        String(22),
        ForeignKey("domains.domain_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kms_key_id", String(2048), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
)

idempotency_tokens = Table(
    "idempotency_tokens",
    metadata,
    Column("scope", String(128), primary_key=True),
    Column("token", String(64), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("resource_id", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

watchlists = Table(
    "watchlists",
    metadata,
    _sequence(),
    Column("watchlist_id", String(22), nullable=False, unique=True),
    _domain_id(),
    Column("is_default", Boolean, nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("sealed_description", LargeBinary),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    _pages_of("watchlists"),
    sqlite_autoincrement=True,
)

speakers = Table(
    "speakers",
    metadata,
    _sequence(),
    Column("speaker_id", String(25), nullable=False, unique=True),
    _domain_id(),
    Column("sealed_key", LargeBinary, nullable=False),  # opens this speaker; gone, nothing does
    Column("customer_id_index", LargeBinary(32), nullable=False),
    Column("sealed_customer_id", LargeBinary, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("last_accessed_ms", BigInteger),
    UniqueConstraint("domain_id", "customer_id_index"),
    _pages_of("speakers"),
    Index("ix_speakers_last_accessed_ms", "last_accessed_ms"),
    sqlite_autoincrement=True,
)

fraudsters = Table(
    "fraudsters",
    metadata,
    _sequence(),
    Column("fraudster_id", String(25), nullable=False, unique=True),
    _domain_id(),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    _pages_of("fraudsters"),
    sqlite_autoincrement=True,
)

watchlist_members = Table(
    "watchlist_members",
    metadata,
    Column(
        "watchlist_id",
        String(22),
        ForeignKey("watchlists.watchlist_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column(
        "fraudster_id",
        String(25),
        ForeignKey("fraudsters.fraudster_id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)

# What changed about fraudsters, so that voices held in memory are brought up to date.
fraudster_changes = Table(
    "fraudster_changes",
    metadata,
    Column(
        "domain_id",
        String(22),
        ForeignKey("domains.domain_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("mark", BigInteger, nullable=False),  # random: a number that was undone is used again
    Column("fraudster_id", String(25), nullable=False),
)

voiceprints = Table(
    "voiceprints",
    metadata,
    Column("owner_id", String(25), primary_key=True),  # a speaker or a fraudster
    _domain_id(),
    Column("model", String(128), nullable=False),
    Column("sealed_vector", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # What the spoof detector makes of a speaker's own voice; all absent where it is not known.
    Column("spoof_model", Text),
    Column("spoof_synthetic", Float),
    Column("spoof_playback", Float),
    Column("sealed_speech", LargeBinary, nullable=False),
    Index("ix_voiceprints_domain_id", "domain_id"),
)

# Telephony platforms whose calls are taken. Secrets are under the root key: a platform is told from
# a stranger before its call is any domain's.
connectors = Table(
    "connectors",
    metadata,
    Column("connector_id", String(22), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("platform", String(16), nullable=False),
    _domain_id(),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("speaker_from", String(256)),
    Column("enrolls", Boolean, nullable=False),
    Column("acceptance_threshold", Integer),
    Column("risk_threshold", Integer),
    Column("watchlist_id", String(22)),
    Column("authentication_minimum_s", Integer),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_connectors_domain_id", "domain_id"),
)

sessions = Table(
    "sessions",
    metadata,
    _sequence(),
    Column("session_id", String(25), nullable=False, unique=True),
    _domain_id(),
    Column("name", String(36), nullable=False, index=True),  # some platforms know only the name
    Column("speaker_id", String(25)),
    Column("sealed_customer_id", LargeBinary),
    Column("authentication_enabled", Boolean, nullable=False),
    Column("fraud_detection_enabled", Boolean, nullable=False),
    Column("acceptance_threshold", Integer, nullable=False),
    Column("risk_threshold", Integer, nullable=False),
    Column("watchlist_id", String(22), nullable=False),
    Column("authentication_minimum_s", Integer, nullable=False),
    Column("stream_number", Integer, nullable=False),
    Column("streaming_status", String(24), nullable=False, index=True),
    Column("stream_expires_ms", BigInteger, nullable=False),
    Column("stream_started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("received_s", Float, nullable=False),
    Column("net_speech_s", Float, nullable=False),
    Column("lost_s", Float, nullable=False),
    Column("quality", String(16), nullable=False),
    Column("enrollment_status", String(24)),
    Column("enrollment_message", Text),
    Column("enrolled_stream", Integer),  # the stream whose speaker was enrolled anew from it
    Column("speech_s", Float, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("sealed_speech", LargeBinary),
    UniqueConstraint("domain_id", "name"),
    _pages_of("sessions"),
    sqlite_autoincrement=True,
)

evidence = Table(
    "evidence",
    metadata,
    Column(
        "session_id",
        String(25),
        ForeignKey("sessions.session_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("stream_number", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("net_speech_s", Float, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
    Column("model", String(128), nullable=False),
    Column("sealed_vector", LargeBinary),  # absent once the voice had to be forgotten
    Column("spoof_windows", LargeBinary),
)

results = Table(
    "results",
    metadata,
    Column(
        "session_id",
        String(25),
        ForeignKey("sessions.session_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("kind", String(16), primary_key=True),  # authentication or fraud
    Column("result_id", String(22), nullable=False),
    Column("basis", LargeBinary(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    _sequence(),
    Column("job_id", String(22), nullable=False, unique=True),
    _domain_id(),
    Column("kind", String(24), nullable=False),  # speaker-enrollment or fraudster-registration
    Column("sealed_name", LargeBinary),
    Column("status", String(24), nullable=False),
    Column("role_arn", String(2048), nullable=False),
    Column("input_uri", Text, nullable=False),
    Column("output_uri", Text, nullable=False),
    Column("output_kms_key_id", String(2048)),
    Column("options", Text, nullable=False),  # JSON: the enrolment or registration configuration
    Column("percent_complete", Integer, nullable=False),
    Column("entries", Integer, nullable=False, server_default="0"),  # 0 until the manifest was read
    Column("entries_done", Integer, nullable=False, server_default="0"),
    Column("entries_failed", Integer, nullable=False, server_default="0"),  # of those done
    Column("failure_code", Integer),
    Column("failure_message", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    _pages_of("jobs"),
    sqlite_autoincrement=True,
)

# What a job's manifest asks for, and what came of it; gone when the job has ended.
job_entries = Table(
    "job_entries",
    metadata,
    Column("entry_id", String(40), primary_key=True),  # the job's id and the number
    Column("job_id", String(22), ForeignKey("jobs.job_id", ondelete="CASCADE"), nullable=False),
    _domain_id(),
    Column("number", Integer, nullable=False),  # in the manifest, from 0
    Column("is_done", Boolean, nullable=False),
    Column("is_failed", Boolean, nullable=False),
    Column("sealed_request", LargeBinary, nullable=False),
    Column("sealed_outcome", LargeBinary),
    Index("ix_job_entries_job_id", "job_id", "is_done", "number"),
    Index("ix_job_entries_domain_id", "domain_id", "entry_id"),
)

# Events that wait for delivery; written with the change that they tell of. A row a sink: what one
# sink does not take does not keep another one waiting.
outbox = Table(
    "outbox",
    metadata,
    _sequence(),
    Column("sink", String(32), nullable=False),
    Column("resource", String(64), nullable=False),  # events of one resource keep their order
    Column("event_id", String(36), nullable=False),
    Column("body", Text, nullable=False),  # the whole envelope as JSON
    Column("created_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_ms", BigInteger, nullable=False),
    Column("last_error", Text),
    Column("is_dead", Boolean, nullable=False),  # given up; stays until an operator decides
    Index("ix_outbox_sink_is_dead_sequence", "sink", "is_dead", "sequence"),
    Index("ix_outbox_sink_resource", "sink", "resource", "sequence"),
    sqlite_autoincrement=True,
)

# Rows are only ever added (a trigger refuses the rest), each sealed to the one before it.
audit = Table(
    "audit",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("record", Text, nullable=False),  # JSON, sensitive members hidden
    Column("mac", LargeBinary(32), nullable=False),
)

# One row: where the audit log ends, sealed. Without it a shortened log would look whole.
audit_head = Table(
    "audit_head",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("sequence", BigInteger, nullable=False),
    Column("mac", LargeBinary(32), nullable=False),  # of the last record
    Column("seal", LargeBinary(32), nullable=False),  # over both
)
