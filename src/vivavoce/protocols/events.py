"""What every dialect's wire turns into."""

from dataclasses import dataclass, field
from typing import TypeAlias

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

    None at all where the peer paused: what follows does not join on to what came before.
    """

    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The peer says which session the call belongs to."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The peer says that the call is over and waits for the final result, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """The peer sent what its dialect does not have; nothing that follows is looked at.

    An event, not an exception, where a stream of bytes is read: what came before it counts.
    """

    reason: str


WireEvent: TypeAlias = Named | Audio | Gap | Closed | Malformed
"""What a dialect gives."""
