"""All settings: from the command line, `VIVAVOCE_*` variables, `vivavoce.toml`, in that order."""

import ipaddress
import logging
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from vivavoce.errors import SettingsInvalid

SETTINGS_FILE = "vivavoce.toml"

_log = logging.getLogger(__name__)

_PREFIX = "VIVAVOCE_"
_ALMOST = 0.8
"""Likeness (difflib) from which on one name is taken for another one misspelt."""

_NOT_OURS = frozenset({"VIVAVOCE_SPEECH_DATA"})
"""Variables of the tests and benchmarks, which start servers."""


def _stream_base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be wss:// (or ws://) and a host, such as wss://voice.example")
    _ = parts.port  # raises on one that is none
    return url


def _proxies(text: str) -> str:
    try:
        for each in text.split(",") if text != "*" else ():
            ipaddress.ip_network(each.strip())
    except ValueError as error:
        raise ValueError(
            f"{error}; give addresses or networks by commas, such as 127.0.0.1,10.0.7.0/24"
        ) from error
    return text


class Settings(BaseSettings):
    """What can be set; each with its unit and default."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", frozen=True, allow_inf_nan=False
    )

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port; 0 takes a free one")] = 8470
    data_dir: Annotated[Path, Field(description="folder for database, keys, credentials")] = Path(
        "vivavoce-data"
    )
    models_dir: Annotated[
        Path | None, Field(description="folder for pulled models; default: the user's cache")
    ] = None
    trusted_proxies: Annotated[
        Annotated[str, AfterValidator(_proxies)] | None,
        Field(
            description="addresses or networks of proxies whose X-Forwarded headers are believed, "
            "by commas"
        ),
    ] = None
    auth: Annotated[
        Literal["sigv4", "none"],
        Field(description="'none' accepts unsigned requests, on a loopback address only"),
    ] = "sigv4"
    account_id: Annotated[
        str, Field(pattern=r"^[0-9]{12}$", description="account in ARNs, 12 digits")
    ] = "000000000000"
    public_url: Annotated[
        Annotated[str, AfterValidator(_stream_base)] | None,
        Field(description="base of StreamUrl, such as wss://voice.example; default: from Host"),
    ] = None
    speaker_model: Annotated[str, Field(description="name of the speaker encoder")] = "ge2e"
    spoof_model: Annotated[
        str,
        Field(description="names of the spoof detectors, by commas; the first to give a verdict"),
    ] = "spoof-v4"
    max_calls: Annotated[int, Field(ge=1, description="live calls at a time; about 35 a core")] = 70
    processes: Annotated[
        int, Field(ge=1, description="processes for speaker encoder and spoof detector")
    ] = 2
    inbox_s: Annotated[
        float, Field(gt=0, le=600, description="audio that may wait in a call, seconds")
    ] = 30.0
    audiosocket_port: Annotated[
        int | None,
        Field(
            ge=1,
            le=65535,
            description="TCP port for Asterisk's AudioSocket, which has neither encryption nor a "
            "password; default: none",
        ),
    ] = None
    audiosocket_host: Annotated[str, Field(description="address for AudioSocket to listen on")] = (
        "127.0.0.1"
    )
    objects: Annotated[
        Literal["folder", "s3"],
        Field(description="where the s3:// names of batch jobs lead: a folder, or an S3 API"),
    ] = "folder"
    objects_dir: Annotated[
        Path | None,
        Field(
            description="with objects=folder, holds a folder for each bucket; default: "
            "'objects' in the data folder"
        ),
    ] = None
    s3_endpoint_url: Annotated[
        str | None, Field(description="another S3 than AWS's own, with objects=s3")
    ] = None
    s3_region: Annotated[
        str | None, Field(description="region of the buckets; default: as boto3 finds it")
    ] = None
    s3_roles: Annotated[
        Literal["own", "profile", "assume"],
        Field(
            description="whose rights a job has: the server's; a profile's that is called like its "
            "role; its role's, which AWS STS lends"
        ),
    ] = "own"
    batch_audio: Annotated[
        Literal["any", "strict"],
        Field(
            description="'strict' refuses recordings that Amazon refused: not WAV, 16 bits, 8 kHz"
        ),
    ] = "any"
    batch_processes: Annotated[
        int, Field(ge=1, description="processes that hear batch jobs' recordings, behind calls")
    ] = 2
    kinesis_endpoint_url: Annotated[
        str | None, Field(description="another Kinesis Video Streams than AWS's own")
    ] = None
    grace_s: Annotated[
        float, Field(ge=0, description="time to reconnect a lost stream, seconds")
    ] = 10.0
    idle_s: Annotated[
        float, Field(gt=0, description="silence of a connected peer that ends a call, seconds")
    ] = 60.0
    token_lifetime_s: Annotated[
        float, Field(gt=0, description="time in which a StreamUrl must be opened, seconds")
    ] = 900.0
    speech_retention_s: Annotated[
        float, Field(gt=0, description="how long a session's speech is kept, seconds")
    ] = 86400.0
    session_retention_s: Annotated[
        float, Field(gt=0, description="how long a session can be evaluated after its end, seconds")
    ] = 172800.0
    speaker_expiry_days: Annotated[
        float, Field(gt=0, description="a speaker unheard for so long expires, days")
    ] = 1096.0
    domain_erase_days: Annotated[
        float, Field(gt=0, description="a deleted domain's rows are kept for so long, days")
    ] = 30.0
    consent: Annotated[
        bool,
        Field(description="that laws on biometric data were acknowledged; false: no new domains"),
    ] = True
    kms: Annotated[
        Literal["local", "aws"],
        Field(description="where customers' keys are: keyring.json in the data folder, or AWS KMS"),
    ] = "local"
    kms_endpoint_url: Annotated[
        str | None, Field(description="another KMS than AWS's own, with kms=aws")
    ] = None
    key_cache_s: Annotated[
        float,
        Field(ge=0, description="an opened domain key serves so long without asking KMS, seconds"),
    ] = 300.0
    quotas: Annotated[
        Literal["off", "aws"], Field(description="'aws': what Amazon's service allowed by default")
    ] = "off"
    quota_domains: Annotated[
        int | None, Field(ge=0, description="domains in a region; over what 'quotas' says")
    ] = None
    quota_watchlists: Annotated[
        int | None, Field(ge=0, description="watchlists in a domain, with the default one")
    ] = None
    quota_fraudsters: Annotated[
        int | None, Field(ge=0, description="fraudsters on a watchlist")
    ] = None
    quota_speakers: Annotated[int | None, Field(ge=0, description="speakers in a domain")] = None
    quota_sessions: Annotated[
        int | None, Field(ge=0, description="active sessions in a domain")
    ] = None
    quota_enrollment_jobs: Annotated[
        int | None, Field(ge=0, description="active speaker enrollment jobs in a domain")
    ] = None
    quota_registration_jobs: Annotated[
        int | None, Field(ge=0, description="active fraudster registration jobs in a domain")
    ] = None
    quota_enrollment_entries: Annotated[
        int | None, Field(ge=0, description="speakers in a speaker enrollment job")
    ] = None
    quota_registration_entries: Annotated[
        int | None, Field(ge=0, description="fraudsters in a fraudster registration job")
    ] = None
    throttles: Annotated[
        Literal["off", "aws"], Field(description="'aws': Amazon's default requests a second")
    ] = "off"
    throttle_tps: Annotated[
        dict[str, Annotated[float, Field(gt=0)]],
        Field(description='requests a second by operation, such as {"ListSpeakers": 5}'),
    ] = {}
    audit: Annotated[
        Literal["writes", "all"],
        Field(description="'all' records reading operations in the audit log as well"),
    ] = "writes"
    events_file: Annotated[
        Path | None, Field(description="file that events are appended to, one JSON object a line")
    ] = None
    events_webhook_url: Annotated[
        str | None, Field(description="URL that events are posted to (Standard Webhooks)")
    ] = None
    events_webhook_secret: Annotated[
        SecretStr | None, Field(description="what posted events are signed with: whsec_ and base64")
    ] = None
    events_eventbridge: Annotated[
        str | None, Field(description="name or ARN of the EventBridge bus that events are put on")
    ] = None
    events_eventbridge_endpoint: Annotated[
        str | None, Field(description="another EventBridge than AWS's own")
    ] = None
    events_eventbridge_region: Annotated[
        str | None, Field(description="region of the bus; default: as boto3 finds it")
    ] = None
    events_eventbridge_source: Annotated[
        str | None,
        Field(description="source in place of aws.voiceid, which AWS itself refuses from others"),
    ] = None
    drain_s: Annotated[
        float, Field(ge=0, description="time to finish calls at shutdown, seconds")
    ] = 15.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least level logged")
    ] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file; no `.env`, no secrets folder."""
        del dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls)
        if "data_dir" in file.toml_data:
            raise SettingsInvalid(
                f"setting data_dir: {SETTINGS_FILE} lies in the data folder and cannot name "
                "another; use --data-dir or VIVAVOCE_DATA_DIR"
            )
        return init_settings, env_settings, file


def read_settings(overrides: Mapping[str, Any]) -> Settings:
    """The settings in force: `overrides` over environment over `vivavoce.toml` over defaults.

    Args:
        overrides: values by name, as from the command line; None stands for absent.

    Raises:
        SettingsInvalid: a name is unknown or a value is out of its range.
    """
    _refuse_strangers()
    given = {name: value for name, value in overrides.items() if value is not None}
    folder = given.get("data_dir") or os.environ.get("VIVAVOCE_DATA_DIR")
    file = Path(folder or Settings.model_fields["data_dir"].default) / SETTINGS_FILE

    class Located(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return Located(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsInvalid(f"setting {name}: {reason}") from error
    except SettingsError as error:
        # Only what is read as JSON can fail so: of the other values the text is taken as it is.
        raise SettingsInvalid(f"{error}: it is not valid JSON") from error
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{file} is not valid TOML: {error}") from error


def _refuse_strangers() -> None:
    """Refuse variables that are almost settings: whoever set one thinks that it is in force.

    Others are warned of only: Kubernetes gives every container variables that begin with the names
    of its services.
    """
    for variable in sorted(os.environ.keys() - _NOT_OURS):
        name = variable.lower().removeprefix(_PREFIX.lower())
        if name == variable.lower() or name in Settings.model_fields:
            continue
        if meant := get_close_matches(name, Settings.model_fields, n=1, cutoff=_ALMOST):
            raise SettingsInvalid(
                f"{variable} is not a setting; did you mean {_PREFIX}{meant[0].upper()}? "
                "`vivavoce serve --help` lists them all"
            )
        _log.warning("%s is not a setting and changes nothing", variable)
