"""What can go wrong, as one tree.

Errors carry facts as attributes; each edge (AWS face, WebSocket, command line) has one table that
turns them into its own codes. Messages never name a speaker, a token or a secret.

```
VivavoceError
├── RequestRefused                 the AWS face turns a request away unread; code, status
│   └── SignatureError             it is unsigned, or not signed as it has to be
├── InvalidRequest                 a member has a value that cannot be served
├── NotFound                       resource_type: DOMAIN, SPEAKER, SESSION, WATCHLIST, FRAUDSTER ...
├── Conflict                       conflict_type: ANOTHER_ACTIVE_STREAM, SPEAKER_NOT_SET ...
├── AtCapacity                     no further call can be admitted now
├── QuotaExceeded                  a quota that the operator set is used up
├── Throttled                      more requests a second than the operator allows
├── AccessDenied                   the caller's policy does not allow this
├── PolicyInvalid                  a policy document is not one that can be enforced
├── AccessKeyError                 an access key cannot be made or revoked; says why
├── ConnectorError                 a connector cannot be made or removed; says why
├── AudioError
│   ├── BadAudioParameters         an encoding, rate or channel that is not served
│   ├── UnreadableRecording        a file that no decoder reads, or one without audio
│   ├── NotEnoughSpeech            needed_s, got_s
│   └── TwoVoices                  speech that is to be one person's holds more than one voice
├── StreamError
│   ├── StreamTokenRejected        wrong, expired, or made for another session
│   ├── CallRefused                a platform is not who it says, or its call is not for its domain
│   ├── AlreadyStreaming           a second connection on a live stream
│   ├── SourceRefused              a stream that we are to read cannot be read; says why
│   └── PeerIdle                   a connection on which nothing came for too long; idle_s
├── ObjectError                    an object of a job is missing, forbidden or too large; code
│   └── RoleRefused                the job's role cannot be used
├── ObjectsDown                    objects cannot be reached; trying again may help
├── JobFailed                      a batch job cannot be done at all; code
├── EntryFailed                    an entry of a batch job cannot be done; the others can
├── ModelError
│   ├── ModelMissing               not installed; says which command installs it
│   └── ModelInvalid               wrong hash, shape, card or calibration
├── VaultError
│   ├── SealBroken                 a sealed value was changed, or sealed under another key
│   ├── KeyUnavailable             a key file is missing, unreadable, too open or the wrong one
│   ├── KeyDenied                  a customer's key is unknown, disabled, or not ours to use
│   └── KeyServiceDown             the key service does not answer; trying again may help
├── StoreError                     the database is lost, not ours, or cannot be opened or copied
│   └── AuditBroken                the audit log is not what was written; at which record
├── EventError
│   └── DeliveryFailed             a sink did not take an event; whether trying again may help
│       └── SinkBusy               the sink takes nothing at all for now; after_s
├── SettingsInvalid                a setting is unknown or out of its range (wrong usage)
├── PortTaken                      the server cannot listen where it was told to
├── CallFailed                     a client command could not complete its call
│   └── ServerSilent               the server could not be reached; it may be later
├── ToolMissing                    a program of the operating system is needed; says how to get it
└── VoicesUnavailable              the demonstration's voices cannot be had; says what to do instead
```
"""

from collections.abc import Callable
from typing import Any


class VivavoceError(Exception):
    """Base of everything that vivavoce raises on purpose; its text is fit to be shown."""

    def __reduce__(self) -> tuple[Callable[..., "VivavoceError"], tuple[Any, ...]]:
        """As it is, to another process: an exception would be made anew from its text alone."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[VivavoceError], arguments: tuple[Any, ...], facts: dict[str, Any]
) -> VivavoceError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(facts)
    return error


class RequestRefused(VivavoceError):
    """The AWS face turns a request away before it is read as an operation's input.

    Attributes:
        code: AWS's name for the reason, such as `SerializationException`.
        status: HTTP status of the answer.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class SignatureError(RequestRefused):
    """A request is unsigned, or its signature is wrong, stale or made for something else."""


class InvalidRequest(VivavoceError):
    """A request member has a value that cannot be served."""


class NotFound(VivavoceError):
    """A named resource does not exist.

    Attributes:
        resource_type: one of the service description's `ResourceType` values.
    """

    def __init__(self, resource_type: str) -> None:
        noun = resource_type.lower().replace("_", " ")
        super().__init__(f"The requested {noun} does not exist")
        self.resource_type = resource_type


class Conflict(VivavoceError):
    """A resource is in a state that forbids the operation.

    Attributes:
        conflict_type: one of the service description's `ConflictType` values.
    """

    def __init__(self, conflict_type: str, message: str) -> None:
        super().__init__(message)
        self.conflict_type = conflict_type


def concurrent_changes() -> Conflict:
    """Another request changed the same resource at the same time."""
    return Conflict(
        "CONCURRENT_CHANGES",
        "The request could not be processed as the resource was modified by another request "
        "during execution.",
    )


class AtCapacity(VivavoceError):
    """No further call can be admitted now; the message says why."""


class QuotaExceeded(VivavoceError):
    """A quota that the operator set is used up; the message names it."""


class Throttled(VivavoceError):
    """More requests of a kind came in a second than the operator allows."""

    def __init__(self) -> None:
        super().__init__("Rate exceeded")


class AccessDenied(VivavoceError):
    """The caller's policy does not allow the operation; the message says which, in AWS's words."""


class PolicyInvalid(VivavoceError):
    """A policy document is not one that can be enforced; the message says where and why."""


class AccessKeyError(VivavoceError):
    """An access key cannot be made or revoked."""


class ConnectorError(VivavoceError):
    """A telephony platform's connector cannot be made or removed."""


class AudioError(VivavoceError):
    """Base of what can be wrong with audio."""


class BadAudioParameters(AudioError):
    """An encoding, sampling rate or channel that is not served."""


class UnreadableRecording(AudioError):
    """A file that no decoder reads, or one that holds no audio."""


class NotEnoughSpeech(AudioError):
    """Too little net speech for what was asked.

    Attributes:
        needed_s: net speech needed, in seconds.
        got_s: net speech there is, in seconds.
    """

    def __init__(self, *, needed_s: float, got_s: float) -> None:
        super().__init__(f"{needed_s:g} s of net speech are needed, {got_s:.1f} s were heard")
        self.needed_s = needed_s
        self.got_s = got_s


class TwoVoices(AudioError):
    """Speech that is to become a voiceprint holds more than one voice."""

    def __init__(self) -> None:
        super().__init__("More than one voice was heard in the speech for the enrollment.")


class StreamError(VivavoceError):
    """Base of what can be wrong with a call's audio stream."""


class StreamTokenRejected(StreamError):
    """A stream token is wrong, expired, or was made for another session."""


class CallRefused(StreamError):
    """A platform is not who it says it is, or names a domain that is not its connector's."""


class AlreadyStreaming(StreamError):
    """A second connection was tried on a stream that has one."""


class SourceRefused(StreamError):
    """A stream that was to be read cannot be read; trying again does not help."""


class PeerIdle(StreamError):
    """A connection on which nothing came for too long.

    Attributes:
        idle_s: how long that was, in seconds.
    """

    def __init__(self, idle_s: float) -> None:
        super().__init__(f"Nothing came for {idle_s:g} s; the stream has ended")
        self.idle_s = idle_s


class ObjectError(VivavoceError):
    """An object of a job cannot be had; trying again does not help.

    Attributes:
        code: like an HTTP status.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class RoleRefused(ObjectError):
    """A job's role gives no right to anything; that says nothing of the object."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=403)


class ObjectsDown(VivavoceError):
    """Objects cannot be reached now; nothing is known about the object."""


class JobFailed(VivavoceError):
    """A batch job cannot be done at all.

    Attributes:
        code: like an HTTP status.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class EntryFailed(VivavoceError):
    """An entry of a batch job cannot be done, and says why; the others can."""


class ModelError(VivavoceError):
    """Base of what can be wrong with a model file."""


class ModelMissing(ModelError):
    """A model is not installed; the message says which command installs it."""


class ModelInvalid(ModelError):
    """A model file has the wrong hash, shape, card or calibration."""


class VaultError(VivavoceError):
    """Base of what can be wrong with keys and sealed values."""


class SealBroken(VaultError):
    """A sealed value was changed, or was sealed under another key or for another place."""


class KeyUnavailable(VaultError):
    """A key file is missing, unreadable, readable by others, or another database's."""


class KeyDenied(VaultError):
    """A customer's key is unknown, disabled, or not ours to use.

    Attributes:
        key_id: the key, as it was named.
    """

    def __init__(self, key_id: str, reason: str) -> None:
        super().__init__(f"The key {key_id} cannot be used: {reason}")
        self.key_id = key_id


class KeyServiceDown(VaultError):
    """The key service does not answer; nothing is known about the key."""


class StoreError(VivavoceError):
    """The database is lost, cannot be opened or copied, or a later version of vivavoce wrote it."""


class AuditBroken(StoreError):
    """The audit log is not what was written.

    Attributes:
        sequence: number of the first record that is wrong or missing.
    """

    def __init__(self, sequence: int, reason: str) -> None:
        super().__init__(f"audit record {sequence}: {reason}")
        self.sequence = sequence


class EventError(VivavoceError):
    """Base of what can be wrong with delivering events."""


class DeliveryFailed(EventError):
    """A sink did not take an event.

    Attributes:
        is_final: True where trying again cannot help.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class SinkBusy(DeliveryFailed):
    """A sink takes nothing at all for now; that is not the event's fault.

    Attributes:
        after_s: when the sink wants to be asked again, in seconds; None if it does not say.
    """

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class SettingsInvalid(VivavoceError):
    """A setting is unknown, or its value is out of its range."""


class PortTaken(VivavoceError):
    """The server cannot listen where it was told to."""


class CallFailed(VivavoceError):
    """A client command could not complete its call: the server refused, or was not reached."""


class ServerSilent(CallFailed):
    """The server could not be reached; it may be later."""


class ToolMissing(VivavoceError):
    """A program of the operating system is needed; the message says how to get it."""


class VoicesUnavailable(VivavoceError):
    """The demonstration's voices cannot be had; the message says what to do instead."""
