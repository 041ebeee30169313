"""Killing the server under load: `python -m bench.kill > bench/results/kill.md`.

Several clients write all sorts of things, each to its own resources, and note what was
acknowledged. The server is killed with `kill -9` at a random moment and started again, many times.
After each start everything that was acknowledged must be there, what was not acknowledged must be
there as a whole or not at all, and in the end every event must have arrived.
"""

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from training import provenance
from vivavoce.api.description import data_path

_START_S = 60.0
_WRITERS = 6
_KEY = {"KmsKeyId": "alias/kill"}


@dataclass
class Server:
    """The server that is killed."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def events_file(self) -> Path:
        """Where events arrive."""
        return self.folder / "events.jsonl"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "vivavoce", "serve", "--port", str(self.port)),
                    *("--data-dir", str(self.folder / "data")),
                ],
                env={**os.environ, "VIVAVOCE_EVENTS_FILE": str(self.events_file)},
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                self.read("/readyz")
                return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "server.log").read_text(encoding="utf-8"))

    def kill(self) -> None:
        """No chance to tidy up."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def read(self, path: str) -> str:
        """What a page says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as page:
            return page.read().decode()

    def client(self) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time
        """boto3 with the session operations, which tries nothing twice."""
        os.environ["AWS_DATA_PATH"] = str(data_path())
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(self.folder / "data" / "credentials")
        return boto3.Session().client(
            "voice-id",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=20),
        )


@dataclass
class Writer:
    """One client: what it wrote, what of that was acknowledged, and what was under way.

    Attributes:
        speakers: status by customer id, None where it was deleted.
        events: actions by generated speaker id, in their order.
        under_way: the change that was neither acknowledged nor refused.
    """

    number: int
    domain_id: str
    arn: str
    speakers: dict[str, str | None] = field(default_factory=dict[str, str | None])
    watchlists: dict[str, str | None] = field(default_factory=dict[str, str | None])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    domains: dict[str, str] = field(default_factory=dict[str, str])
    sessions: set[str] = field(default_factory=set[str])
    events: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    under_way: str | None = None
    acknowledged: int = 0

    def write(self, client: Any, chance: random.Random) -> None:  # noqa: ANN401
        """Make one change."""
        acts: list[Callable[[Any, random.Random], None]] = [
            self._opt_out,
            self._opt_out,
            self._delete_speaker,
            self._tag,
            self._watchlist,
            self._session,
            self._domain,
        ]
        chance.choice(acts)(client, chance)
        self.under_way = None
        self.acknowledged += 1

    def _opt_out(self, client: Any, chance: random.Random) -> None:  # noqa: ANN401
        customer = f"writer-{self.number}-{chance.randrange(30)}"
        self.under_way = customer
        speaker = client.opt_out_speaker(DomainId=self.domain_id, SpeakerId=customer)["Speaker"]
        self.speakers[customer] = "OPTED_OUT"
        self.events.setdefault(speaker["GeneratedSpeakerId"], []).append("OPT_OUT_SPEAKER")

    def _delete_speaker(self, client: Any, chance: random.Random) -> None:  # noqa: ANN401
        there = [customer for customer, status in self.speakers.items() if status is not None]
        if not there:
            return
        customer = self.under_way = chance.choice(there)
        described = client.describe_speaker(DomainId=self.domain_id, SpeakerId=customer)["Speaker"]
        client.delete_speaker(DomainId=self.domain_id, SpeakerId=customer)
        self.speakers[customer] = None
        self.events.setdefault(described["GeneratedSpeakerId"], []).append("DELETE_SPEAKER")

    def _tag(self, client: Any, chance: random.Random) -> None:  # noqa: ANN401
        key, value = f"writer-{self.number}", str(chance.randrange(1000))
        self.under_way = key
        client.tag_resource(ResourceArn=self.arn, Tags=[{"Key": key, "Value": value}])
        self.tags[key] = value

    def _watchlist(self, client: Any, chance: random.Random) -> None:  # noqa: ANN401
        there = [name for name, name_of in self.watchlists.items() if name_of is not None]
        if there and chance.random() < 0.5:
            gone = self.under_way = chance.choice(there)
            client.delete_watchlist(DomainId=self.domain_id, WatchlistId=gone)
            self.watchlists[gone] = None
            return
        name = f"list-{chance.randrange(10**9)}"
        made = client.create_watchlist(DomainId=self.domain_id, Name=name)["Watchlist"]
        self.watchlists[made["WatchlistId"]] = name

    def _session(self, client: Any, chance: random.Random) -> None:  # noqa: ANN401
        name = f"call-{self.number}-{chance.randrange(10**9)}"
        client.start_session(DomainId=self.domain_id, SessionName=name)
        self.sessions.add(name)

    def _domain(self, client: Any, chance: random.Random) -> None:  # noqa: ANN401
        if chance.random() < 0.8:
            return  # they stay, and each is looked at after every start
        token = str(uuid.UUID(int=chance.getrandbits(128)))
        made = client.create_domain(
            Name=f"domain-{token}", ServerSideEncryptionConfiguration=_KEY, ClientToken=token
        )["Domain"]
        self.domains[made["DomainId"]] = made["Name"]


def verify(writer: Writer, client: Any) -> list[str]:  # noqa: ANN401
    """What is not as it was acknowledged; what was under way may be either way."""
    wrong: list[str] = []
    for customer, status in writer.speakers.items():
        if customer != writer.under_way and _speaker(client, writer.domain_id, customer) != status:
            wrong.append(f"speaker {customer} is not {status}")
    for watchlist_id, name in writer.watchlists.items():
        if watchlist_id != writer.under_way:
            found = _watchlist(client, writer.domain_id, watchlist_id)
            if found != name:
                wrong.append(f"watchlist {watchlist_id} is {found}, not {name}")
    present = client.list_tags_for_resource(ResourceArn=writer.arn)["Tags"]
    tags = {tag["Key"]: tag["Value"] for tag in present}
    wrong += [
        f"tag {key} is not {value}"
        for key, value in writer.tags.items()
        if key != writer.under_way and tags.get(key) != value
    ]
    for domain_id, name in writer.domains.items():
        if client.describe_domain(DomainId=domain_id)["Domain"]["Name"] != name:
            wrong.append(f"domain {domain_id} is not {name}")
    for name in writer.sessions:
        try:
            client.describe_session(DomainId=writer.domain_id, SessionNameOrId=name)
        except ClientError as error:
            wrong.append(f"session {name}: {error}")
    return wrong


def half_made(client: Any) -> list[str]:  # noqa: ANN401
    """Domains that lack what is made with them, and speakers that do not open."""
    wrong: list[str] = []
    for page in client.get_paginator("list_domains").paginate():
        for domain in page["DomainSummaries"]:
            lists = client.list_watchlists(DomainId=domain["DomainId"])["WatchlistSummaries"]
            default = [one["WatchlistId"] for one in lists if one["DefaultWatchlist"]]
            if default != [domain["WatchlistDetails"]["DefaultWatchlistId"]]:
                wrong.append(f"domain {domain['DomainId']} has the default watchlists {default}")
            for speakers in client.get_paginator("list_speakers").paginate(
                DomainId=domain["DomainId"]
            ):
                wrong += [
                    f"speaker {speaker['GeneratedSpeakerId']} has no customer id"
                    for speaker in speakers["SpeakerSummaries"]
                    if not speaker.get("CustomerSpeakerId")
                ]
    return wrong


def missing_events(server: Server, writers: list[Writer]) -> list[str]:
    """Events of acknowledged changes that did not arrive, or not in their order."""
    until_s = time.monotonic() + 30
    while 'vivavoce_outbox_waiting{sink="file"} 0.0' not in server.read("/metrics"):
        if time.monotonic() > until_s:
            return ["events still wait after 30 s"]
        time.sleep(0.1)
    arrived: dict[str, list[str]] = {}
    seen: set[str] = set()
    for line in server.events_file.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["id"] not in seen:
            seen.add(event["id"])
            detail = event["detail"]
            speaker_id = detail.get("generatedSpeakerId")
            arrived.setdefault(speaker_id, []).append(detail["action"])
    return [
        f"of speaker {speaker_id} arrived {arrived.get(speaker_id)}, not {actions}"
        for writer in writers
        for speaker_id, actions in writer.events.items()
        if not _contains(arrived.get(speaker_id, []), actions)
    ]


def _contains(longer: list[str], shorter: list[str]) -> bool:
    """Whether the shorter is in the longer, in its order; unacknowledged ones may be between."""
    rest = iter(longer)
    return all(action in rest for action in shorter)


def _speaker(client: Any, domain_id: str, customer: str) -> str | None:  # noqa: ANN401
    try:
        found = client.describe_speaker(DomainId=domain_id, SpeakerId=customer)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found["Speaker"]["Status"]


def _watchlist(client: Any, domain_id: str, watchlist_id: str) -> str | None:  # noqa: ANN401
    try:
        found = client.describe_watchlist(DomainId=domain_id, WatchlistId=watchlist_id)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found["Watchlist"]["Name"]


@contextlib.contextmanager
def running(folder: Path) -> Generator[Server]:
    """A server with an empty data folder, until the end of the context."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    server = Server(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def kill_under_load(server: Server, *, kills: int, seed: int) -> tuple[list[str], list[Writer]]:
    """Kill and start the server so often under load; gives what was wrong, and who wrote what."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret comes of it
    client = server.client()
    writers: list[Writer] = []
    for number in range(_WRITERS):
        domain = client.create_domain(Name="load", ServerSideEncryptionConfiguration=_KEY)["Domain"]
        writers.append(Writer(number=number, domain_id=domain["DomainId"], arn=domain["Arn"]))
    wrong: list[str] = []
    for number in range(kills):
        threads = [
            threading.Thread(target=_write_on, args=(server.client(), writer, chance.random()))
            for writer in writers
        ]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.2, 1.5))
        server.kill()
        for thread in threads:
            thread.join()
        server.start()
        client = server.client()
        for writer in writers:
            wrong += verify(writer, client)
            _take_note(writer, client)
        wrong += half_made(client)
        acknowledged = sum(writer.acknowledged for writer in writers)
        print(f"{number + 1}/{kills}: {acknowledged} acknowledged", file=sys.stderr)
    wrong += missing_events(server, writers)
    return wrong, writers


def _write_on(client: Any, writer: Writer, seed: float) -> None:  # noqa: ANN401
    chance = random.Random(seed)  # noqa: S311
    with contextlib.suppress(BotoCoreError):  # the server is gone
        while True:
            writer.write(client, chance)


def _take_note(writer: Writer, client: Any) -> None:  # noqa: ANN401
    """What was under way is from here on as it was found."""
    named, writer.under_way = writer.under_way, None
    if named in writer.speakers:
        writer.speakers[named] = _speaker(client, writer.domain_id, named)
    if named in writer.watchlists:
        writer.watchlists[named] = _watchlist(client, writer.domain_id, named)
    writer.tags.pop(named or "", None)


def main() -> None:
    """Kill, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        wrong, writers = kill_under_load(server, kills=arguments.kills, seed=arguments.seed)
        audit = subprocess.run(
            [
                *(sys.executable, "-m", "vivavoce", "audit", "verify"),
                *("--data-dir", str(server.folder / "data")),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        events = len(server.events_file.read_text(encoding="utf-8").splitlines())
    print("# Killed under load\n")
    print(f"- made by: `python -m bench.kill --kills {arguments.kills} --seed {arguments.seed}`")
    print(f"- commit: {provenance.commit()}")
    print(f"- machine: {provenance.machine()}\n")
    print("| | |\n| --- | --- |")
    print(f"| kills with `kill -9` | {arguments.kills} |")
    print(f"| clients writing at once | {_WRITERS} |")
    print(f"| changes acknowledged | {sum(writer.acknowledged for writer in writers)} |")
    print(f"| events that arrived, repeated ones too | {events} |")
    print(f"| acknowledged changes or events lost, or resources half-made | {len(wrong)} |")
    print(f"| audit log | {(audit.stdout or audit.stderr).splitlines()[0]} |")
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong or audit.returncode else 0)


if __name__ == "__main__":
    main()
