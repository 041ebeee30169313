"""Events to EventBridge, or to whatever speaks its API.

EventBridge makes an envelope of its own: it takes over `detail-type`, `source`, `time`,
`resources` and `detail`, and sets `id`, `account` and `region` itself. `detail.sourceId` tells
a repeated event.

Source: EventBridge API reference, PutEvents and PutEventsResultEntry (which error codes are final).
"""

import asyncio
import json
from datetime import datetime
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from vivavoce.errors import DeliveryFailed, SinkBusy

# The event itself is wrong: it will be wrong for ever.
_FINAL = frozenset(
    {
        "InvalidArgument",
        "MalformedDetail",
        "RequestEntityTooLargeException",
        "ValidationException",
    }
)


class EventBridgeSink:
    """Puts events on an event bus, with the credentials that boto3 finds."""

    name = "eventbridge"

    def __init__(
        self,
        bus: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        source: str | None = None,
    ) -> None:
        """Put together; nothing is sent yet.

        Args:
            bus: name or ARN of the event bus.
            region: of the bus; None for the one that boto3 finds.
            endpoint_url: of a service that is not AWS's own; None for AWS.
            source: in place of the events' own `aws.voiceid`. AWS itself keeps names that begin
                with `aws.` to its services and refuses them from everybody else.
        """
        self._bus = bus
        self._region = region
        self._endpoint_url = endpoint_url
        self._source = source
        self._client: Any = None
        self._connecting = asyncio.Lock()

    async def deliver(self, event_id: str, body: str) -> None:
        """Put an event on the bus; it is there when this returns.

        Raises:
            DeliveryFailed: the bus refuses it.
            SinkBusy: the bus is not reached, or takes nothing now.
        """
        del event_id  # the bus gives events ids of its own
        entry = self._entry(json.loads(body))
        try:
            answer = await asyncio.to_thread((await self._connected()).put_events, Entries=[entry])
        except ClientError as error:
            facts: Any = error.response
            raise _failure(facts["Error"]["Code"]) from error
        except (BotoCoreError, ValueError) as error:  # boto3 says of some settings ValueError
            raise SinkBusy(f"not reached: {type(error).__name__}") from error
        if answer["FailedEntryCount"]:
            raise _failure(answer["Entries"][0].get("ErrorCode", "unknown"))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    async def _connected(self) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
        async with self._connecting:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
        return self._client

    def _connect(self) -> Any:  # noqa: ANN401
        config = Config(
            connect_timeout=5,
            read_timeout=15,
            retries={"total_max_attempts": 1},  # whoever calls tries again
        )
        # A session of its own: boto3's default one is not made for several threads.
        session: Any = Session()
        return session.client(
            "events", region_name=self._region, endpoint_url=self._endpoint_url, config=config
        )

    def _entry(self, envelope: dict[str, Any]) -> dict[str, Any]:
        return {
            "Time": datetime.fromisoformat(envelope["time"]),
            "Source": self._source or envelope["source"],
            "Resources": envelope["resources"],
            "DetailType": envelope["detail-type"],
            "Detail": json.dumps(envelope["detail"]),
            "EventBusName": self._bus,
        }


def _failure(code: str) -> DeliveryFailed:
    if code == "NotAuthorizedForSourceException":
        return SinkBusy(f"refused: {code}; AWS keeps sources that begin with aws. to its services")
    if code in _FINAL:
        return DeliveryFailed(f"refused: {code}", is_final=True)
    return SinkBusy(f"refused: {code}")
