"""The one table of operations that are served; the rest are unknown to callers."""

from collections.abc import Mapping

from vivavoce.api import domains, sessions, speakers
from vivavoce.api.context import Handler
from vivavoce.api.services import Services

HANDLERS: Mapping[str, Handler[Services]] = {
    "CreateDomain": domains.create_domain,
    "DeleteSpeaker": speakers.delete_speaker,
    "DescribeDomain": domains.describe_domain,
    "DescribeSession": sessions.describe_session,
    "DescribeSpeaker": speakers.describe_speaker,
    "EndSession": sessions.end_session,
    "EnrollBySession": sessions.enroll_by_session,
    "EvaluateSession": sessions.evaluate_session,
    "ListDomains": domains.list_domains,
    "ListSessions": sessions.list_sessions,
    "ListSpeakers": speakers.list_speakers,
    "OptOutSpeaker": speakers.opt_out_speaker,
    "RegisterFraudsterBySession": sessions.register_fraudster_by_session,
    "StartSession": sessions.start_session,
    "UpdateSession": sessions.update_session,
}
