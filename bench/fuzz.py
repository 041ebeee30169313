"""Hostile requests by the hundred thousand: `python -m bench.fuzz > bench/results/fuzz.md`.

Requests are made from the service description: an operation's valid input, then broken in one way
or several. They go to a real server, most of them signed, over kept connections. What may never
happen: an answer of 5xx, an answer that is not the service's, no answer, memory that grows.

Some are accepted and leave domains, keys and sessions behind, which take room. So as many again
follow of operations that only read: whatever grows then is lost.
"""

import argparse
import asyncio
import collections
import configparser
import contextlib
import json
import os
import random
import re
import signal
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from training import provenance
from vivavoce.api.description import data_path, load_service_model

_REGION = "us-east-1"
_ALPHANUMERIC = string.ascii_letters + string.digits
_PATIENCE_S = 20.0
_CONNECTIONS = 8
_START_S = 60.0
_SLICES = 10

_ODD_TEXTS = (
    "",
    " ",
    "\x00",
    "\ud800",
    "\udfff\ud800",
    "\uffff",
    "\u202e",
    "é" * 256,
    "\U0001d54a" * 300,
    "a\nb",
    "id#",
    "../../etc/passwd",
    "' OR 1=1 --",
    "%s%n%x",
    "{{7*7}}",
    "$" * 2000,
    "a" * 100_000,
)
_ODD_NUMBERS = (
    "-1",
    "0",
    "1e400",
    "-1e400",
    "1.5",
    "9" * 30,
    "9" * 6000,
    "NaN",
    "Infinity",
    "1e-400",
    "00",
    "0x10",
    "9223372036854775808",
)
_ODD_VALUES = ("null", "true", "[]", "{}", '""', "[[]]", '{"":""}', "[null]", "-0")


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request.

    Attributes:
        way: how it is broken.
        body: as sent.
        headers: beside those that belong to its signature; replaced ones among them.
        is_signed: whether it carries a good signature for what it says.
        raw: sent instead of a request, where the protocol itself is broken.
    """

    way: str
    target: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])
    is_signed: bool = True
    raw: bytes | None = None


class HostileRequests:
    """Makes hostile requests; the same seed makes the same ones.

    Args:
        service: the description.
        seed: of the random numbers.
        known: ids that exist, by shape name, so that requests get beyond the first check.
        only_reads: name only operations that change nothing.
    """

    def __init__(
        self,
        service: ServiceModel,
        seed: int,
        known: dict[str, list[str]],
        *,
        only_reads: bool = False,
    ) -> None:
        self._service = service
        operations = cast("list[str]", service.operation_names)
        self._operations = [
            name for name in operations if not only_reads or name.startswith(("Describe", "List"))
        ]
        self._random = random.Random(seed)  # noqa: S311 - nothing secret comes of it
        self._known = known

    def __iter__(self) -> Iterator[Hostile]:
        ways: list[Callable[[], Hostile]] = [
            self._whole,
            self._whole,
            self._member_of_wrong_kind,
            self._member_of_wrong_kind,
            self._boundary,
            self._boundary,
            self._odd_text,
            self._odd_number,
            self._repeated_key,
            self._nested,
            self._truncated,
            self._bad_bytes,
            self._unknown_members,
            self._missing_members,
            self._not_an_object,
            self._odd_headers,
            self._odd_target,
            self._odd_signature,
            self._odd_protocol,
        ]
        while True:
            yield self._random.choice(ways)()

    # --- ways to break a request

    def _whole(self) -> Hostile:
        operation, members = self._valid()
        return self._request("nothing", operation, json.dumps(members))

    def _member_of_wrong_kind(self) -> Hostile:
        operation, members = self._valid()
        odd = self._random.choice(_ODD_VALUES)
        return self._request("a member of a wrong kind", operation, self._put(members, odd))

    def _boundary(self) -> Hostile:
        operation, members = self._valid()
        paths = list(_paths(members, self._input(operation)))
        if not paths:
            return self._request("a boundary", operation, "{}")
        container, name, shape = self._random.choice(paths)
        limits = cast("dict[str, Any]", shape.metadata)
        edge = self._random.choice([limits.get("min", 0), limits.get("max", 256)])
        size = max(0, edge + self._random.choice([-1, 0, 1]))
        kind = cast("str", shape.type_name)
        if kind == "string":
            container[name] = "a" * size
        elif kind == "integer":
            container[name] = edge + self._random.choice([-1, 0, 1])
        elif kind == "list":
            member = cast("Shape", cast("ListShape", shape).member)
            container[name] = [self._value(member)] * min(size, 300)
        return self._request("a boundary", operation, json.dumps(members))

    def _odd_text(self) -> Hostile:
        operation, members = self._valid()
        text = json.dumps(self._random.choice(_ODD_TEXTS))
        return self._request("an odd text", operation, self._put(members, text))

    def _odd_number(self) -> Hostile:
        operation, members = self._valid()
        number = self._random.choice(_ODD_NUMBERS)
        return self._request("an odd number", operation, self._put(members, number))

    def _repeated_key(self) -> Hostile:
        operation, members = self._valid()
        body = json.dumps(members)
        again = self._random.choice([body[1:-1], '"DomainId": null', '"DomainId": {}'])
        inner = ", ".join(part for part in (body[1:-1], again) if part)
        return self._request("a key twice", operation, f"{{{inner}}}")

    def _nested(self) -> Hostile:
        operation, members = self._valid()
        depth = self._random.choice([10, 100, 1000, 5000, 50_000])
        nested = self._random.choice(
            ["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth]
        )
        return self._request("nested deeply", operation, self._put(members, nested))

    def _truncated(self) -> Hostile:
        operation, members = self._valid()
        body = json.dumps(members)
        return self._request("truncated", operation, body[: self._random.randrange(len(body))])

    def _bad_bytes(self) -> Hostile:
        operation, members = self._valid()
        body = bytearray(json.dumps(members, ensure_ascii=False).encode())
        for _ in range(self._random.randrange(1, 4)):
            body.insert(self._random.randrange(len(body) + 1), self._random.randrange(256))
        return Hostile("bad bytes", self._target(operation), bytes(body))

    def _unknown_members(self) -> Hostile:
        operation, members = self._valid()
        for _ in range(self._random.choice([1, 10, 1000])):
            members[self._text(12)] = self._random.choice([None, 1, "x", {"y": []}])
        return self._request("unknown members", operation, json.dumps(members))

    def _missing_members(self) -> Hostile:
        operation, members = self._valid()
        kept = {name: value for name, value in members.items() if self._random.random() < 0.5}
        return self._request("missing members", operation, json.dumps(kept))

    def _not_an_object(self) -> Hostile:
        operation, _ = self._valid()
        body = self._random.choice(
            ["", "[]", "1", '"x"', "null", "true", "{}{}", "\ufeff{}", "{'a':1}"]
        )
        return self._request("no object", operation, body)

    def _odd_headers(self) -> Hostile:
        operation, members = self._valid()
        headers = self._random.choice(
            [
                {"content-type": "text/html"},
                {"content-encoding": "gzip"},
                {"x-amz-content-sha256": "0" * 64},
                {"x-amz-security-token": "x" * 4000},
                {"x-forwarded-for": "1.2.3.4, 5.6.7.8"},
                {"host": "evil.example"},
                {"expect": "100-continue"},
                {"x-" + self._text(20): self._text(3000)},
                {"transfer-encoding": "gzip"},
            ]
        )
        request = self._request("odd headers", operation, json.dumps(members))
        return Hostile(request.way, request.target, request.body, headers)

    def _odd_target(self) -> Hostile:
        target = self._random.choice(
            ["", "VoiceID.", "VoiceID.Nothing", "voiceid.ListDomains", "DynamoDB.ListTables",
             "VoiceID.ListDomains.x", "VoiceID." + "A" * 5000]
        )  # fmt: skip
        return Hostile("an odd target", target, b"{}")

    def _odd_signature(self) -> Hostile:
        operation, members = self._valid()
        scope = "VV/20260101/us-east-1/voiceid/aws4_request"
        odd = self._random.choice(
            [
                "AWS4-HMAC-SHA256",
                "AWS4-HMAC-SHA256 Credential=, SignedHeaders=, Signature=",
                "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=" + "0" * 64,
                "Bearer x",
                "AWS4-HMAC-SHA256 " + "," * 5000,
                f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=z",
            ]
        )
        return Hostile(
            "an odd signature",
            self._target(operation),
            json.dumps(members).encode(),
            {"authorization": odd},
            is_signed=False,
        )

    def _odd_protocol(self) -> Hostile:
        raw = self._random.choice(
            [
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                b"GET / HTTP/9.9\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
                b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
                b"\r\n\r\n\r\n",
                bytes(self._random.randrange(256) for _ in range(200)),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ]
        )
        return Hostile("odd protocol", "", b"", raw=raw)

    # --- valid requests

    def _valid(self) -> tuple[str, dict[str, Any]]:
        operation = self._random.choice(self._operations)
        shape = self._input(operation)
        members = {} if shape is None else self._structure(shape)
        if operation == "DeleteDomain":
            members["DomainId"] = self._text(22)  # what is known is still needed
        return operation, members

    def _input(self, operation: str) -> StructureShape | None:
        return cast("StructureShape | None", self._service.operation_model(operation).input_shape)

    def _structure(self, shape: StructureShape) -> dict[str, Any]:
        required = cast("list[str]", shape.required_members)
        return {
            name: self._value(member)
            for name, member in cast("dict[str, Shape]", shape.members).items()
            if name in required or self._random.random() < 0.4
        }

    def _value(self, shape: Shape) -> Any:  # noqa: ANN401 - of any kind
        limits = cast("dict[str, Any]", shape.metadata)
        known = self._known.get(cast("str", shape.name))
        if known and self._random.random() < 0.8:
            return self._random.choice(known)
        match cast("str", shape.type_name):
            case "structure":
                return self._structure(cast("StructureShape", shape))
            case "list":
                member = cast("Shape", cast("ListShape", shape).member)
                size = self._random.randint(limits.get("min", 0), min(limits.get("max", 3), 3))
                return [self._value(member) for _ in range(size)]
            case "integer":
                return self._random.randint(limits.get("min", 0), limits.get("max", 1000))
            case "boolean":
                return self._random.random() < 0.5
            case _:
                return self._valid_text(shape, limits)

    def _valid_text(self, shape: Shape, limits: dict[str, Any]) -> str:
        if "enum" in limits:
            return self._random.choice(limits["enum"])
        pattern = limits.get("pattern", "")
        if "id#" in pattern and "|" not in pattern:
            return "id#" + self._text(22)
        if limits.get("min") == limits.get("max") == 22:
            return self._text(22)
        forms = {
            "S3Uri": f"s3://bucket/{self._text(8)}",
            "IamRoleArn": f"arn:aws:iam::123456789012:role/{self._text(6)}",
            "AmazonResourceName": f"arn:aws:voiceid:{_REGION}:{'0' * 12}:domain/{self._text(22)}",
        }
        length = self._random.randint(1, min(limits.get("max", 20), 20))
        return forms.get(cast("str", shape.name)) or self._text(length)

    def _put(self, members: dict[str, Any], raw: str) -> str:
        """A request with one member, somewhere in it, replaced by a piece of JSON as it stands."""
        mark = "@@here@@"
        if not members:
            return f'{{"DomainId": {raw}}}'
        container: Any = members
        while True:
            name = self._random.choice(list(container))
            inner = container[name]
            if isinstance(inner, dict) and inner and self._random.random() < 0.6:
                container = inner
                continue
            container[name] = mark
            return json.dumps(members).replace(f'"{mark}"', raw)

    def _request(self, way: str, operation: str, body: str) -> Hostile:
        return Hostile(way, self._target(operation), body.encode(errors="surrogatepass"))

    def _target(self, operation: str) -> str:
        return f"VoiceID.{operation}"

    def _text(self, length: int) -> str:
        return "".join(self._random.choice(_ALPHANUMERIC) for _ in range(length))


@dataclass(slots=True)
class Outcome:
    """What came of many requests."""

    answers: collections.Counter[tuple[str, str]] = field(
        default_factory=collections.Counter[tuple[str, str]]
    )
    failures: list[str] = field(default_factory=list[str])
    slowest_s: float = 0.0


async def send_all(
    requests: Iterator[Hostile], count: int, *, port: int, credentials: Credentials
) -> Outcome:
    """Send so many requests over a few connections; gives what came of them."""
    outcome = Outcome()
    left = iter(range(count))
    await asyncio.gather(
        *(_sender(requests, left, outcome, port, credentials) for _ in range(_CONNECTIONS))
    )
    return outcome


async def _sender(
    requests: Iterator[Hostile],
    left: Iterator[int],
    outcome: Outcome,
    port: int,
    credentials: Credentials,
) -> None:
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for _ in left:
        hostile = next(requests)
        if connection is None or hostile.raw is not None:
            await _let_go(connection)
            connection = await asyncio.open_connection("127.0.0.1", port)
        started_s = time.perf_counter()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                wire = hostile.raw or _wire(hostile, port, credentials)
                keeps = await _exchange(hostile, wire, outcome, *connection)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            keeps = False
            if hostile.raw is None:
                outcome.failures.append(f"{hostile.way}: {type(error).__name__}: {hostile}"[:500])
            else:
                outcome.answers[hostile.way, "closed"] += 1
        outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - started_s)
        if not keeps:
            await _let_go(connection)
            connection = None
    await _let_go(connection)


async def _let_go(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if connection is not None:
        connection[1].close()
        with contextlib.suppress(ConnectionError):
            await connection[1].wait_closed()


async def _exchange(
    hostile: Hostile,
    wire: bytes,
    outcome: Outcome,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    """Send one request and judge the answer; gives whether the connection may be used again."""
    writer.write(wire)
    if hostile.raw is not None:
        writer.write_eof()
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):  # "go on", as the client asked
        head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
    outcome.answers[hostile.way, str(status)] += 1
    if status >= 500:
        outcome.failures.append(f"{hostile.way}: {status} to {hostile}"[:500])
    elif hostile.raw is None and not _is_ours(status, body):
        outcome.failures.append(f"{hostile.way}: {body[:200]!r} to {hostile}"[:500])
    return hostile.raw is None and headers.get(b"connection") != b"close"


def _is_ours(status: int, body: bytes) -> bool:
    """Whether an answer is one of the service: JSON, and named where it is an error."""
    if status == 400 and body.startswith(b"Invalid HTTP"):
        return True  # it was no request
    try:
        answer = json.loads(body or b"{}")
    except ValueError:
        return False
    return isinstance(answer, dict) and (status == 200 or "__type" in answer)


def _wire(hostile: Hostile, port: int, credentials: Credentials) -> bytes:
    headers = {
        "host": f"127.0.0.1:{port}",
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": hostile.target,
        **hostile.headers,
    }
    if hostile.is_signed:
        request = AWSRequest(
            "POST", f"http://127.0.0.1:{port}/", data=hostile.body, headers=headers
        )
        SigV4Auth(credentials, "voiceid", _REGION).add_auth(request)
        headers = dict(request.headers.items())
    headers["content-length"] = str(len(hostile.body))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST / HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + hostile.body


def _paths(
    members: dict[str, Any], shape: StructureShape | None
) -> Iterator[tuple[dict[str, Any], str, Shape]]:
    for name in list(members) if shape is not None else []:
        member = cast("dict[str, Shape]", cast("StructureShape", shape).members)[name]
        yield members, name, member
        if isinstance(member, StructureShape):
            yield from _paths(members[name], member)


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no VmRSS")


def _known(port: int, credentials: Credentials) -> dict[str, list[str]]:
    """A domain with something in it, so that requests get as far as the store."""
    os.environ["AWS_DATA_PATH"] = str(data_path())
    client: Any = boto3.client(
        "voice-id",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=_REGION,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
    )
    domain = client.create_domain(
        Name="fuzz", ServerSideEncryptionConfiguration={"KmsKeyId": "alias/fuzz"}
    )["Domain"]
    domain_id = domain["DomainId"]
    speakers = [
        client.opt_out_speaker(DomainId=domain_id, SpeakerId=f"customer-{number}")["Speaker"]
        for number in range(5)
    ]
    sessions = [
        client.start_session(DomainId=domain_id, SpeakerId="customer-1")["Session"]
        for _ in range(5)
    ]
    return {
        "DomainId": [domain_id],
        "SessionNameOrId": [session["SessionId"] for session in sessions],
        "SpeakerId": [speaker["GeneratedSpeakerId"] for speaker in speakers] + ["customer-1"],
        "WatchlistId": [domain["WatchlistDetails"]["DefaultWatchlistId"]],
        "AmazonResourceName": [domain["Arn"]],
    }


def main() -> None:
    """Start a server, send it everything, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=100_000, help="of all operations, and then of reads"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "server.log"
        with log.open("wb") as said:  # a pipe that nobody reads would stop the server
            server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "vivavoce", "serve", "--port", "0"),
                    *("--data-dir", str(folder / "data")),
                ],
                stderr=said,
            )
        try:
            _bombard(arguments, server, folder / "data", _port(log))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def _port(log: Path) -> int:
    """The port that a server says it listens on."""
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s:
        found = re.search(
            r"listens on http://127\.0\.0\.1:(\d+)\n", log.read_text(encoding="utf-8")
        )
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise TimeoutError(log.read_text(encoding="utf-8"))


def _bombard(
    arguments: argparse.Namespace, server: subprocess.Popen[bytes], folder: Path, port: int
) -> None:
    file = configparser.ConfigParser()
    file.read(folder / "credentials")
    key = file["default"]
    credentials = Credentials(key["aws_access_key_id"], key["aws_secret_access_key"])
    known = _known(port, credentials)
    total = Outcome()
    memory: dict[bool, list[float]] = {False: [], True: []}
    started_s = time.perf_counter()
    for only_reads, measured in memory.items():
        requests = iter(
            HostileRequests(load_service_model(), arguments.seed, known, only_reads=only_reads)
        )
        for number in range(_SLICES):
            outcome = asyncio.run(
                send_all(
                    requests, arguments.requests // _SLICES, port=port, credentials=credentials
                )
            )
            total.answers += outcome.answers
            total.failures += outcome.failures
            total.slowest_s = max(total.slowest_s, outcome.slowest_s)
            measured.append(_rss_mib(server.pid))
            kind = "that only read" if only_reads else "of all operations"
            print(f"{kind} {number + 1}/{_SLICES}: {measured[-1]:.0f} MiB", file=sys.stderr)
    _report(arguments, total, memory, time.perf_counter() - started_s)
    for failure in total.failures[:20]:
        print(failure, file=sys.stderr)
    sys.exit(1 if total.failures or server.poll() is not None else 0)


def _report(
    arguments: argparse.Namespace, total: Outcome, memory: dict[bool, list[float]], took_s: float
) -> None:
    print("# Hostile requests\n")
    command = f"python -m bench.fuzz --requests {arguments.requests} --seed {arguments.seed}"
    print(f"- made by: `{command}`")
    print(f"- commit: {provenance.commit()}")
    print(f"- machine: {provenance.machine()}")
    count = sum(total.answers.values()) + len(total.failures)
    print(f"- {count} requests in {took_s:.0f} s over {_CONNECTIONS} connections")
    print(
        f"- 5xx, no answer within {_PATIENCE_S:g} s, or an answer not ours: {len(total.failures)}"
    )
    print(f"- slowest answer, with its way here: {total.slowest_s:.2f} s")
    print("- the server's memory after each tenth, MiB:")
    for only_reads, kind in ((False, "all operations"), (True, "then those that only read")):
        print(f"  - {kind}: {', '.join(f'{mib:.0f}' for mib in memory[only_reads])}")
    print()
    print("| broken how | 200 | 400 | other | |\n| --- | --- | --- | --- | --- |")
    for way in sorted({way for way, _ in total.answers}):
        of_way = {status: n for (w, status), n in total.answers.items() if w == way}
        others = {status: n for status, n in of_way.items() if status not in {"200", "400"}}
        named = ", ".join(sorted(others))
        print(
            f"| {way} | {of_way.get('200', 0)} | {of_way.get('400', 0)} "
            f"| {sum(others.values())} | {named} |"
        )


if __name__ == "__main__":
    main()
