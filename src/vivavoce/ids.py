"""Identifiers in the service's own form: 22 base-62 digits, for some kinds after `id#`.

Source: the service description's patterns; 22 base-62 digits hold 131 bits, so 128 random bits fit.
"""

import re
import secrets
import string

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH = 22
_CUSTOMER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,255}")


def unique_id() -> str:
    """A new random id of 22 base-62 digits (domains, watchlists, jobs, results, events)."""
    number = secrets.randbits(128)
    digits: list[str] = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def generated_id() -> str:
    """A new random id in the form `id#` + 22 digits (speakers, fraudsters, sessions)."""
    return f"id#{unique_id()}"


def domain_arn(domain_id: str, *, region: str, account_id: str) -> str:
    """The ARN of a domain, whether or not it exists."""
    return f"arn:aws:voiceid:{region}:{account_id}:domain/{domain_id}"


def is_customer_id(text: str) -> bool:
    """Whether a text can be a customer's own speaker id: the description's CustomerSpeakerId."""
    return _CUSTOMER_ID.fullmatch(text) is not None


def is_generated(identifier: str) -> bool:
    """Whether an id has the generated form; customer ids and session names cannot contain `#`."""
    return identifier.startswith("id#")
