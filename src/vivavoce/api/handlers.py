"""The one table of operations."""

from collections.abc import Mapping

from vivavoce.api import domains, fraudsters, jobs, sessions, speakers, tags, watchlists
from vivavoce.api.context import Handler
from vivavoce.api.services import Services

HANDLERS: Mapping[str, Handler[Services]] = {
    "AssociateFraudster": fraudsters.associate_fraudster,
    "CreateDomain": domains.create_domain,
    "CreateWatchlist": watchlists.create_watchlist,
    "DeleteDomain": domains.delete_domain,
    "DeleteFraudster": fraudsters.delete_fraudster,
    "DeleteSpeaker": speakers.delete_speaker,
    "DeleteWatchlist": watchlists.delete_watchlist,
    "DescribeDomain": domains.describe_domain,
    "DescribeFraudster": fraudsters.describe_fraudster,
    "DescribeFraudsterRegistrationJob": jobs.describe_fraudster_registration_job,
    "DescribeSession": sessions.describe_session,
    "DescribeSpeaker": speakers.describe_speaker,
    "DescribeSpeakerEnrollmentJob": jobs.describe_speaker_enrollment_job,
    "DescribeWatchlist": watchlists.describe_watchlist,
    "DisassociateFraudster": fraudsters.disassociate_fraudster,
    "EndSession": sessions.end_session,
    "EnrollBySession": sessions.enroll_by_session,
    "EvaluateSession": sessions.evaluate_session,
    "ListDomains": domains.list_domains,
    "ListFraudsterRegistrationJobs": jobs.list_fraudster_registration_jobs,
    "ListFraudsters": fraudsters.list_fraudsters,
    "ListSessions": sessions.list_sessions,
    "ListSpeakerEnrollmentJobs": jobs.list_speaker_enrollment_jobs,
    "ListSpeakers": speakers.list_speakers,
    "ListTagsForResource": tags.list_tags_for_resource,
    "ListWatchlists": watchlists.list_watchlists,
    "OptOutSpeaker": speakers.opt_out_speaker,
    "RegisterFraudsterBySession": sessions.register_fraudster_by_session,
    "StartFraudsterRegistrationJob": jobs.start_fraudster_registration_job,
    "StartSession": sessions.start_session,
    "StartSpeakerEnrollmentJob": jobs.start_speaker_enrollment_job,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "UpdateDomain": domains.update_domain,
    "UpdateSession": sessions.update_session,
    "UpdateWatchlist": watchlists.update_watchlist,
}
