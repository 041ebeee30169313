"""What every dialect's wire turns into."""

from dataclasses import dataclass, field
from typing import TypeAlias

from vivavoce.audio.arrays import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """The caller's next samples, shape (n,) at the call rate."""

    samples: Samples = field(repr=False)


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


WireEvent: TypeAlias = Named | Audio | Closed | Malformed
"""What a dialect gives; pauses and gaps come with the dialects that have them."""
