"""What every dialect's wire turns into."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vivavoce.audio.arrays import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """What was said next.

    Attributes:
        samples: by the caller, shape (n,) at the call rate.
        agent: by whom the caller hears, at the same moments; None where the peer does not send it.
    """

    samples: Samples = field(repr=False)
    agent: Samples | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """So many of the caller's samples are missing here, at the call rate.

    Attributes:
        samples: how many.
        is_loss: whether they were lost; otherwise the peer kept them to itself, such as while the
            caller said a card's number.
    """

    samples: int
    is_loss: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The peer says which session the call belongs to."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """The peer announces a call that nobody has started a session for.

    Attributes:
        name: by which the peer knows the call.
        domain_id: the domain that it wants the call to be heard in; None where it names none.
        facts: all that it says of the call, such as who is calling.
    """

    name: str
    domain_id: str | None
    facts: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The peer says that the call is over and waits for the final result, where there is one.

    Attributes:
        returns: the peer will come back on another connection to go on with the same call.
    """

    returns: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """The peer sent what its dialect does not have; nothing that follows is looked at.

    An event, not an exception, where a stream of bytes is read: what came before it counts.
    """

    reason: str


WireEvent: TypeAlias = Named | Announced | Audio | Gap | Closed | Malformed
"""What a dialect gives."""
