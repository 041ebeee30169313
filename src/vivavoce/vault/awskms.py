"""Customers' keys in AWS KMS.

The server's own AWS credentials are found as by any AWS client; they need `kms:DescribeKey`,
`kms:GenerateDataKey` and `kms:Decrypt` on the customers' keys.
"""

import contextlib
import threading
from collections.abc import Generator, Mapping
from functools import lru_cache
from typing import Any, Protocol, cast

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from vivavoce.errors import KeyDenied, KeyServiceDown
from vivavoce.vault.customer_keys import DataKey, encryption_context, parse_key_name
from vivavoce.vault.seal import KEY_BYTES

# A caller waits: five seconds an attempt, two attempts.
_CONFIG = Config(
    connect_timeout=2, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2}
)

_MOST_REGIONS = 32
"""Clients kept, one a region; callers name regions."""

# Source: the KMS API reference's errors of DescribeKey, GenerateDataKey and Decrypt. Whatever is
# not here (throttling, faults of the service, refused credentials) says nothing about the key.
_WHY_NOT: Mapping[str, str] = {
    "NotFoundException": "AWS KMS knows no such key",
    "DisabledException": "it is disabled",
    "KMSInvalidStateException": "its state does not allow its use",
    "InvalidKeyUsageException": "it is not a symmetric encryption key",
    "InvalidCiphertextException": "the data key was changed, or wrapped for another domain",
    "IncorrectKeyException": "the data key was wrapped by another key",
    "AccessDeniedException": "AWS KMS does not let this server use it",
    "InvalidArnException": "AWS KMS does not accept its name",
    "ValidationException": "AWS KMS does not accept its name",
}

_ARN_PARTS = 6  # arn, partition, service, region, account, resource
_USABLE_STATES = frozenset({"Enabled", "Updating"})  # source: KMS, "Key states of KMS keys"


class _Client(Protocol):
    """What is used of boto3's client, which has no types."""

    def describe_key(self, *, KeyId: str) -> Mapping[str, Any]: ...  # noqa: N803 - AWS's names

    def generate_data_key(
        self,
        *,
        KeyId: str,  # noqa: N803
        KeySpec: str,  # noqa: N803
        EncryptionContext: Mapping[str, str],  # noqa: N803
    ) -> Mapping[str, Any]: ...

    def decrypt(
        self,
        *,
        KeyId: str,  # noqa: N803
        CiphertextBlob: bytes,  # noqa: N803
        EncryptionContext: Mapping[str, str],  # noqa: N803
    ) -> Mapping[str, Any]: ...


class AwsKms:
    """Customers' keys in AWS KMS; implements `CustomerKeys`."""

    def __init__(self, *, region: str | None, endpoint_url: str | None) -> None:
        """No connection is made yet.

        Args:
            region: where ids and aliases are looked up; None: where the request was signed for.
                An ARN names its own region.
            endpoint_url: another KMS than AWS's own; None: AWS's.
        """
        self._region = region
        self._endpoint_url = endpoint_url
        self._making = threading.Lock()
        self._client_in = lru_cache(maxsize=_MOST_REGIONS)(self._new_client)

    def find(self, key_id: str, *, region: str, account_id: str) -> str | None:
        """The same as `resolve`: none is ever made here."""
        return self.resolve(key_id, region=region, account_id=account_id)

    def resolve(self, key_id: str, *, region: str, account_id: str) -> str:
        """The ARN of the key that a name stands for.

        Raises:
            InvalidRequest: it is no id, alias or ARN.
            KeyDenied: the key is unknown, not enabled, not symmetric, or not permitted to us.
            KeyServiceDown: KMS does not answer.
        """
        home = self._region or region
        name = parse_key_name(key_id, region=home, account_id=account_id)
        arn, reason = self._describe(key_id, region=name.region)
        if reason is not None:
            raise KeyDenied(key_id, reason)
        return arn

    def new_data_key(self, key_arn: str, *, domain_arn: str) -> DataKey:
        """A new random data key, wrapped for a domain.

        Raises:
            KeyDenied: the key cannot be used.
            KeyServiceDown: KMS does not answer.
        """
        with _explained(key_arn):
            answer = self._client_of(key_arn).generate_data_key(
                KeyId=key_arn, KeySpec="AES_256", EncryptionContext=encryption_context(domain_arn)
            )
            return DataKey(
                plain=_data_key(answer["Plaintext"]), wrapped=bytes(answer["CiphertextBlob"])
            )

    def open_data_key(self, key_arn: str, wrapped: bytes, *, domain_arn: str) -> bytes:
        """Unwrap a data key.

        Raises:
            KeyDenied: the key cannot be used, or did not wrap this for this domain.
            KeyServiceDown: KMS does not answer.
        """
        with _explained(key_arn):
            answer = self._client_of(key_arn).decrypt(
                KeyId=key_arn,
                CiphertextBlob=wrapped,
                EncryptionContext=encryption_context(domain_arn),
            )
            return _data_key(answer["Plaintext"])

    def is_usable(self, key_arn: str) -> bool:
        """Always True: without asking KMS nothing is known; what was opened is kept for a while."""
        del key_arn
        return True

    def _describe(self, key_id: str, *, region: str) -> tuple[str, str | None]:
        """The key's ARN, and why it cannot be used if it cannot."""
        with _explained(key_id):
            key = self._client_in(region).describe_key(KeyId=key_id)["KeyMetadata"]
            if key["KeySpec"] != "SYMMETRIC_DEFAULT":
                return key["Arn"], "it is not a symmetric encryption key"
            if key["KeyState"] not in _USABLE_STATES:
                return key["Arn"], f"its state is {key['KeyState']}"
            return key["Arn"], None

    def _client_of(self, key_arn: str) -> _Client:
        return self._client_in(_region_of(key_arn))

    def _new_client(self, region: str) -> _Client:
        with self._making:  # boto3's clients may be shared by threads, making them may not
            return cast("Any", boto3.session.Session()).client(
                "kms", region_name=region, endpoint_url=self._endpoint_url, config=_CONFIG
            )


@contextlib.contextmanager
def _explained(key_id: str) -> Generator[None]:
    """Turns what boto3 raises into what is known about the key."""
    try:
        yield
    except ClientError as error:
        code = cast("dict[str, Any]", error.response).get("Error", {}).get("Code", "an error")
        if code in _WHY_NOT:
            raise KeyDenied(key_id, _WHY_NOT[code]) from error
        raise KeyServiceDown(f"AWS KMS does not serve the request: {code}") from error
    except BotoCoreError as error:
        raise KeyServiceDown(f"AWS KMS cannot be asked: {error}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise KeyServiceDown(
            "AWS KMS cannot be asked: its address is none, or what answers there is not KMS"
        ) from error


def _data_key(plain: bytes) -> bytes:
    if len(plain) != KEY_BYTES:
        raise ValueError
    return bytes(plain)


def _region_of(key_arn: str) -> str:
    parts = key_arn.split(":")
    if len(parts) != _ARN_PARTS:
        raise KeyDenied(key_arn, "it is not the ARN of a key")
    return parts[3]
