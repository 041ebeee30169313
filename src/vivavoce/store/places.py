"""Where sealed values belong. A value opens only at its own place, so these names never change."""


def owner_key(owner_id: str) -> str:
    """The key of a speaker or fraudster."""
    return f"owner/{owner_id}/key"


def customer_id(speaker_id: str) -> str:
    """A speaker's id as the customer has it."""
    return f"speaker/{speaker_id}/customer-id"


def voiceprint_vector(owner_id: str) -> str:
    """The vector of a voiceprint."""
    return f"voiceprint/{owner_id}/vector"


def voiceprint_speech(owner_id: str) -> str:
    """The speech that a voiceprint was made from."""
    return f"voiceprint/{owner_id}/speech"


def watchlist_name(watchlist_id: str) -> str:
    """A watchlist's name."""
    return f"watchlist/{watchlist_id}/name"


def watchlist_description(watchlist_id: str) -> str:
    """A watchlist's description."""
    return f"watchlist/{watchlist_id}/description"


def session_customer_id(session_id: str) -> str:
    """The claimed speaker's id, as the client gave it to a session."""
    return f"session/{session_id}/customer-id"


def session_speech(session_id: str) -> str:
    """The speech that a session keeps."""
    return f"session/{session_id}/speech"


def evidence_vector(session_id: str) -> str:
    """The caller's voice in a session."""
    return f"session/{session_id}/vector"


def job_name(job_id: str) -> str:
    """A job's name."""
    return f"job/{job_id}/name"


def job_entry_request(entry_id: str) -> str:
    """What an entry of a job's manifest asks for."""
    return f"job-entry/{entry_id}/request"


def job_entry_outcome(entry_id: str) -> str:
    """What came of it."""
    return f"job-entry/{entry_id}/outcome"


def tags(domain_id: str) -> str:
    """A domain's tags; under the root key."""
    return f"domain/{domain_id}/tags"


DOMAIN_NAME = "name"
DOMAIN_DESCRIPTION = "description"
DOMAIN_INDEX_KEY = "index-key"
