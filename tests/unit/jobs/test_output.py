import json

from vivavoce.jobs.output import write_output

GOOD = {"RequestId": "r1", "GeneratedSpeakerId": "id#1", "EnrollmentStatus": "NEW_ENROLLMENT"}
BAD = {"RequestId": "\ud800", "ErrorCode": 400, "ErrorMessage": "zu wenig — über"}


def written(path, kind, outcomes):
    write_output(path, kind, lambda: iter(outcomes))
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_output_lists_errors_and_successes_apart_in_order(tmp_path):
    outcomes = [(GOOD, False), (BAD, True), ({**GOOD, "RequestId": "r3"}, False)]
    assert written(tmp_path / "out", "speaker-enrollment", outcomes) == {
        "Version": "1.0",
        "Errors": [BAD],
        "SuccessfulEnrollments": [GOOD, {**GOOD, "RequestId": "r3"}],
    }


def test_what_there_is_none_of_is_an_empty_list(tmp_path):
    assert written(tmp_path / "out", "fraudster-registration", []) == {
        "Version": "1.0",
        "Errors": [],
        "SuccessfulRegistrations": [],
    }
