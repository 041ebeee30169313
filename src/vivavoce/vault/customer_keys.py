"""Customers' keys: what a domain's `KmsKeyId` names, whoever keeps the key.

A customer's key never leaves its keeper (a local keyring, or AWS KMS). The keeper makes a domain's
data keys and wraps them; it unwraps one only for the domain that it was made for, and only while
the customer's key is enabled.
"""

import re
from dataclasses import dataclass, field
from typing import Protocol

from vivavoce.errors import InvalidRequest

_LONGEST_KEY_ID = 2048  # source: the service description's `KmsKeyId`
_LONGEST_NAME = 256  # source: KMS's limit on aliases; ids are no longer than 36

_KEY = re.compile(r"[A-Za-z0-9-]+")
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]+")  # source: KMS's CreateAlias
_REGION = re.compile(r"[a-z0-9-]{1,64}")  # part of a host name at AWS: no dots, no slashes
_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):kms:(?P<region>[a-z0-9-]{1,64}):"
    r"(?P<account_id>[0-9]{12}):(?:(?P<alias>alias/[A-Za-z0-9/_-]+)|key/(?P<key>[A-Za-z0-9-]+))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """A data key of a domain, as its keeper hands it out.

    Attributes:
        plain: the key, 32 bytes; never stored.
        wrapped: the same key, sealed under the customer's; only the keeper opens it.
    """

    plain: bytes = field(repr=False)
    wrapped: bytes


class CustomerKeys(Protocol):
    """Keeps customers' keys. Calls block: they are made from worker threads."""

    def find(self, key_id: str, *, region: str, account_id: str) -> str | None:
        """The same as `resolve`, but None where that would make the key first."""
        ...

    def resolve(self, key_id: str, *, region: str, account_id: str) -> str:
        """The ARN of the key that a `KmsKeyId` names, if it can be used now.

        Args:
            key_id: an id, `alias/...`, or the ARN of a key or an alias.
            region: where an id or alias is looked up; an ARN says it itself.
            account_id: whose id or alias it is; an ARN says it itself.

        Raises:
            InvalidRequest: it has none of these forms.
            KeyDenied: the key is unknown, disabled, destroyed, of the wrong kind, or not ours.
            KeyServiceDown: the keeper does not answer.
        """
        ...

    def new_data_key(self, key_arn: str, *, domain_arn: str) -> DataKey:
        """A new random data key, bound to a domain.

        Raises:
            KeyDenied: the customer's key cannot be used.
            KeyServiceDown: the keeper does not answer.
        """
        ...

    def open_data_key(self, key_arn: str, wrapped: bytes, *, domain_arn: str) -> bytes:
        """Unwrap a data key, 32 bytes.

        Raises:
            KeyDenied: the customer's key cannot be used, or the data key is another domain's.
            KeyServiceDown: the keeper does not answer.
        """
        ...

    def is_usable(self, key_arn: str) -> bool:
        """Whether a key is known and enabled; cheap, and may be a few seconds old.

        Raises:
            KeyServiceDown: the keeper does not answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyName:
    """What a `KmsKeyId` says, completed: partition, region and account are part of a key's name.

    Attributes:
        partition: `aws`, `aws-cn`, ...
        region: such as `eu-central-1`.
        account_id: twelve digits.
        resource: `key/<id>` or `alias/<name>`.
    """

    partition: str
    region: str
    account_id: str
    resource: str

    @property
    def is_alias(self) -> bool:
        """Whether it names an alias, which stands for some key."""
        return self.resource.startswith("alias/")

    @property
    def arn(self) -> str:
        """The ARN of the key, or of the alias."""
        return f"{self._owner}:{self.resource}"

    def key_arn(self, key: str) -> str:
        """The ARN of a key of the same region and account."""
        return f"{self._owner}:key/{key}"

    @property
    def _owner(self) -> str:
        return f"arn:{self.partition}:kms:{self.region}:{self.account_id}"


def parse_key_name(key_id: str, *, region: str, account_id: str) -> KeyName:
    """Read a `KmsKeyId`.

    Args:
        key_id: an id (letters, digits, hyphens, such as a UUID or `mrk-...`), `alias/<name>`, or
            the ARN of a key or an alias.
        region: the region of an id or alias.
        account_id: the account of an id or alias.

    Raises:
        InvalidRequest: it has none of these forms.
    """
    if len(key_id) > _LONGEST_KEY_ID:
        raise InvalidRequest(f"KmsKeyId is longer than {_LONGEST_KEY_ID} characters")
    if _REGION.fullmatch(region) is None:
        raise InvalidRequest(f"{region!r} is not the name of a region")
    arn = _ARN.fullmatch(key_id)
    if arn is not None:
        name = KeyName(
            partition=arn["partition"],
            region=arn["region"],
            account_id=arn["account_id"],
            resource=arn["alias"] or f"key/{arn['key']}",
        )
    elif _ALIAS.fullmatch(key_id) is not None:
        name = KeyName(partition="aws", region=region, account_id=account_id, resource=key_id)
    elif _KEY.fullmatch(key_id) is not None:
        name = KeyName(
            partition="aws", region=region, account_id=account_id, resource=f"key/{key_id}"
        )
    else:
        raise InvalidRequest(
            "KmsKeyId must be a key's id (letters, digits and hyphens), alias/<name>, or an ARN: "
            "arn:aws:kms:<region>:<account>:key/<id> or arn:aws:kms:<region>:<account>:alias/<name>"
        )
    if len(name.resource) > _LONGEST_NAME:
        raise InvalidRequest(f"A key's id or alias is at most {_LONGEST_NAME} characters long")
    return name


def encryption_context(domain_arn: str) -> dict[str, str]:
    """What binds a data key to its domain, in every cryptographic call.

    Source: voice-id-behaviour.md, section 14.2.
    """
    return {"aws:voiceid:domain:arn": domain_arn}
