"""How calls and decisions look in a terminal."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

Document = dict[str, Any]

_COLOURS = {
    "ACCEPT": "green",
    "LOW_RISK": "green",
    "REJECT": "red",
    "HIGH_RISK": "red",
    "COMPLETED": "green",
    "FAILED": "red",
}
_METERS = (
    ("Authentication", "AuthenticationSpeechSecondsNeeded"),
    ("Fraud", "FraudSpeechSecondsNeeded"),
    ("Enrolment", "EnrollmentSpeechSecondsNeeded"),
)


def authentication_text(evaluation: Document) -> str:
    """The authentication result in a few words."""
    result = evaluation.get("AuthenticationResult")
    if result is None:
        return "-"
    score = result.get("Score")
    return result["Decision"] if score is None else f"{result['Decision']} (score {score})"


def fraud_text(evaluation: Document) -> str:
    """The fraud result in a few words."""
    result = evaluation.get("FraudDetectionResult")
    if result is None:
        return "-"
    details = result.get("RiskDetails")
    if details is None:
        early = result.get("EarlyVoiceSpoofingRisk")
        so_far = "" if early is None else f" (spoofing so far: {early['RiskScore']})"
        return result["Decision"] + so_far
    known = details["KnownFraudsterRisk"]["RiskScore"]
    spoofing = details["VoiceSpoofingRisk"]["RiskScore"]
    reasons = ", ".join(result.get("Reasons", ()))
    risks = f"known fraudster {known}, spoofing {spoofing}"
    return f"{result['Decision']} ({reasons}; {risks})" if reasons else f"LOW_RISK ({risks})"


def enrolled_meanwhile(before: Document, after: Document) -> bool:
    """Whether an enrolment was completed between two states of a session."""

    def is_complete(session: Document) -> bool:
        return session.get("EnrollmentRequestDetails", {}).get("Status") == "COMPLETED"

    return is_complete(after) and not is_complete(before)


def coloured(text: str) -> Text:
    """A decision in its colour."""
    return Text(text, style=_COLOURS.get(text.split(" ", 1)[0], "yellow"))


class CallMeter:
    """A live speech meter: how much was heard, what it has led to."""

    def __init__(self, title: str, *, console: Console, seconds: float) -> None:
        self._title = title
        self._seconds = seconds
        self._bars = Progress(
            TextColumn("  {task.description:<15}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:>5.1f} / {task.total:.0f} s net speech"),
            console=console,
        )
        self._tasks = {name: self._bars.add_task(name, total=None) for name, _ in _METERS}
        self._state = Text("")
        self._live = Live(self._view(), console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def hear(self, message: Document, sent_s: float) -> None:
        """Show a message of the server."""
        match message["type"]:
            case "progress":
                self._show_progress(message, sent_s)
            case "result":
                evaluation = message["evaluation"]
                self._state = Text.assemble(
                    "  ",
                    coloured(authentication_text(evaluation)),
                    "  ",
                    coloured(fraud_text(evaluation)),
                )
            case "enrollment":
                self._state = Text.assemble("  enrolment ", coloured(message["status"]))
            case _:
                pass
        self._live.update(self._view())

    def _show_progress(self, message: Document, sent_s: float) -> None:
        net_s = message["NetSpeechSeconds"]
        for name, missing in _METERS:
            needed_s = max(net_s, 0.0) + message[missing] if message[missing] else net_s
            self._bars.update(
                self._tasks[name], completed=min(net_s, needed_s), total=max(needed_s, 0.1)
            )
        self._heard = (sent_s, message["Quality"])

    _heard: tuple[float, str] = (0.0, "UNKNOWN")

    def _view(self) -> Group:
        sent_s, quality = self._heard
        head = Text.assemble(
            (self._title, "bold"), f"  {sent_s:5.1f} / {self._seconds:.1f} s sent, audio {quality}"
        )
        return Group(head, self._bars, self._state)
