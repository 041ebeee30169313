"""Writes the audit records of API calls."""

from vivavoce.api.records import READ_ONLY, ApiCall, CallRecorder
from vivavoce.store.store import Store


class AuditLog:
    """Records the calls that change something, and those that were denied.

    Args:
        store: the state, and the log in it.
        recorder: writes a record.
        everything: whether calls that only read are recorded as well.
    """

    def __init__(self, store: Store, recorder: CallRecorder, *, everything: bool) -> None:
        self._store = store
        self._recorder = recorder
        self._everything = everything

    def wants(self, operation: str, *, denied: bool) -> bool:
        """Whether a call is recorded.

        Of an evaluation, the decision has a record of its own; clients ask for it every few
        seconds.
        """
        changes = operation not in READ_ONLY and operation != "EvaluateSession"
        return self._everything or denied or changes

    async def require_log(self) -> None:
        """Make sure that the log can be written, before anything is changed.

        Raises:
            AuditBroken: it cannot, as it is not what was written.
        """
        await self._store.look_up(lambda tx: tx.audit.head())

    async def add(self, call: ApiCall) -> None:
        """Record a call; it is in the log when this returns."""
        record = self._recorder.record(call)
        await self._store.write(lambda tx: tx.audit.add(record, call.at_ms))
