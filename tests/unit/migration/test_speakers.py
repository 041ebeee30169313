import json

import pytest

from vivavoce.errors import InvalidRequest
from vivavoce.migration.speakers import SavedSpeaker, read_speakers


def summary(customer_id, status="ENROLLED"):
    return {"DomainId": "d", "CustomerSpeakerId": customer_id, "Status": status}


@pytest.fixture
def saved(tmp_path):
    def saved(text):
        path = tmp_path / "speakers.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return saved


def test_an_answer_of_list_speakers_is_read(saved):
    page = {"SpeakerSummaries": [summary("a"), summary("b", "OPTED_OUT")], "NextToken": "x"}
    assert read_speakers(saved(json.dumps(page))) == [
        SavedSpeaker(customer_id="a", status="ENROLLED"),
        SavedSpeaker(customer_id="b", status="OPTED_OUT"),
    ]


def test_pages_may_follow_one_another_or_be_a_list_and_the_last_word_counts(saved):
    pages = [{"SpeakerSummaries": [summary("a")]}, {"SpeakerSummaries": [summary("a", "EXPIRED")]}]
    for text in ("\n".join(map(json.dumps, pages)), json.dumps(pages)):
        assert read_speakers(saved(text)) == [SavedSpeaker(customer_id="a", status="EXPIRED")]


def test_the_summaries_alone_will_do(saved):
    assert len(read_speakers(saved(json.dumps([summary("a"), summary("b")])))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no speakers"),
        ("{", "is not JSON"),
        (b"\xff", "not UTF-8"),
        ("{}", "no answer of list-speakers"),
        ('"text"', "no answer of list-speakers"),
        ('{"SpeakerSummaries": []}', "lists no speakers"),
        ('{"SpeakerSummaries": [{"Status": "PENDING"}]}', "speaker 1: there is no Customer"),
        ('{"SpeakerSummaries": ["a"]}', "speaker 1: there is no Customer"),
        (json.dumps({"SpeakerSummaries": [summary("a"), summary("a b")]}), "speaker 2"),
        (json.dumps({"SpeakerSummaries": [summary("a", "GONE")]}), "Status is not one of"),
    ],
)
def test_what_is_no_list_says_where(saved, text, message):
    with pytest.raises(InvalidRequest, match=message):
        read_speakers(saved(text))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_speakers(tmp_path / "none.json")
