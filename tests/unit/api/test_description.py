import copy
import shutil
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import Loader

from vivavoce.api import description
from vivavoce.api.description import generate, typed_dicts

SESSION_OPERATIONS = {
    "StartSession",
    "DescribeSession",
    "UpdateSession",
    "EnrollBySession",
    "RegisterFraudsterBySession",
    "EndSession",
    "ListSessions",
}


def client(loader, **arguments):
    session = botocore.session.Session()
    session.register_component("data_loader", loader)
    return session.create_client(
        "voice-id",
        region_name="eu-west-2",
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        **arguments,
    )


@pytest.fixture
def botocore_without_the_service(tmp_path):
    """What would be left of botocore's data after it drops the service."""
    for file in Path(Loader.BUILTIN_DATA_PATH).glob("*.json*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def test_the_committed_copy_equals_what_the_installed_botocore_gives(capsys):
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_a_changed_limit_in_botocore_is_noticed():
    public = generate.public_description(generate.botocore_loader())
    assert public is not None
    changed = copy.deepcopy(public)
    changed["service-2"]["shapes"]["SessionName"]["max"] = 64
    stale = generate.outdated(generate.generated_files(changed))
    assert [path.name for path in stale] == ["service-2.json"]


def test_a_new_member_in_botocore_changes_the_types_too():
    public = generate.public_description(generate.botocore_loader())
    assert public is not None
    public["service-2"]["shapes"]["Speaker"]["members"]["Nickname"] = {"shape": "String"}
    stale = generate.outdated(generate.generated_files(public))
    assert {path.name for path in stale} == {"service-2.json", "shapes.py"}


def test_without_the_service_in_botocore_our_copy_stays_and_the_types_come_from_it(
    botocore_without_the_service,
):
    loader = Loader(
        extra_search_paths=[str(botocore_without_the_service)], include_default_search_paths=False
    )
    public = generate.public_description(loader)
    assert public is None
    files = generate.generated_files(public)
    assert [path.name for path in files] == ["shapes.py"]
    assert generate.outdated(files) == []


def test_nothing_of_the_prose_is_copied():
    public = generate.public_description(generate.botocore_loader())
    assert public is not None
    text = str(public)
    assert "documentation" not in text
    assert "<p>" not in text


def test_the_types_cover_every_operation():
    source = typed_dicts.render(description.load_description())
    service: Any = description.load_service_model()
    names = {service.operation_model(name).input_shape.name for name in service.operation_names}
    assert len(names) == 36
    for name in names:
        assert f"class {name}(TypedDict):" in source


def test_the_session_operations_stand_beside_the_public_ones():
    service: Any = description.load_service_model()
    assert set(service.operation_names) > SESSION_OPERATIONS
    assert service.operation_model("StartSession").idempotent_members == ["ClientToken"]
    evaluation = service.operation_model("EvaluateSession").output_shape
    assert set(evaluation.members) == {
        "AudioProgress",
        "AuthenticationResult",
        "DomainId",
        "FraudDetectionResult",
        "SessionId",
        "SessionName",
        "StreamingStatus",
    }


def test_with_our_data_path_a_client_has_the_session_operations(monkeypatch):
    monkeypatch.setenv("AWS_DATA_PATH", str(description.data_path()))
    voice_id = boto3.Session(region_name="us-east-1").client(
        "voice-id", aws_access_key_id="AKID", aws_secret_access_key="secret"
    )
    assert voice_id.meta.method_to_api_mapping.items() >= {
        ("start_session", "StartSession"),
        ("register_fraudster_by_session", "RegisterFraudsterBySession"),
        ("create_domain", "CreateDomain"),
    }
    assert voice_id.can_paginate("list_sessions")
    assert voice_id.can_paginate("list_speakers")


def test_without_our_data_path_a_client_has_the_public_operations():
    voice_id = client(Loader())
    assert len(voice_id.meta.method_to_api_mapping) == 29


def test_a_client_works_after_botocore_has_dropped_the_service(botocore_without_the_service):
    loader = Loader(
        extra_search_paths=[str(description.data_path()), str(botocore_without_the_service)],
        include_default_search_paths=False,
    )
    voice_id = client(loader, endpoint_url="http://127.0.0.1:8470")
    assert len(voice_id.meta.method_to_api_mapping) == 36
    assert voice_id.can_paginate("list_domains")
    assert voice_id.meta.endpoint_url == "http://127.0.0.1:8470"


@pytest.fixture
def endpoint_rules():
    ours = Loader(extra_search_paths=[str(description.data_path())])
    return EndpointProvider(
        ours.load_data("voice-id/2021-09-27/endpoint-rule-set-1"), ours.load_data("partitions")
    )


def test_an_explicit_endpoint_wins_over_the_region(endpoint_rules):
    endpoint = endpoint_rules.resolve_endpoint(Endpoint="http://here:1", Region="eu-west-2")
    assert endpoint.url == "http://here:1"


def test_without_an_endpoint_the_public_host_of_the_region_is_named(endpoint_rules):
    endpoint = endpoint_rules.resolve_endpoint(Region="eu-west-2")
    assert endpoint.url == "https://voiceid.eu-west-2.amazonaws.com"


@pytest.mark.parametrize("variant", ["UseFIPS", "UseDualStack"])
@pytest.mark.parametrize("place", [{"Region": "eu-west-2"}, {"Endpoint": "http://here:1"}])
def test_endpoint_variants_that_do_not_exist_are_errors(endpoint_rules, variant, place):
    with pytest.raises(EndpointProviderError, match="vivavoce has no"):
        endpoint_rules.resolve_endpoint(**place, **{variant: True})


def test_neither_endpoint_nor_region_is_an_error(endpoint_rules):
    with pytest.raises(EndpointProviderError, match="Name an endpoint"):
        endpoint_rules.resolve_endpoint()
