"""Searching many fraudsters: `python -m bench.search > bench/results/search.md`.

Prints Markdown: how long the closest of so many voices takes to find, on one core, against a search
that looks at each voice by itself; how much memory they take; how long the first search takes, for
which all voices are opened, and one after a change.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.markdown import row
from training import provenance
from vivavoce.audio.arrays import Floats
from vivavoce.ids import generated_id
from vivavoce.scoring.gallery import Gallery
from vivavoce.store.records import Domain, Fraudster, Voiceprint, Watchlist
from vivavoce.store.store import Store, Transaction, open_store
from vivavoce.vault.keyring import LocalKeyring
from vivavoce.vault.seal import SealingKey, new_key
from vivavoce.vault.vault import Vault

SIZES = (500, 10_000, 100_000)
DIMENSION = 256
QUERIES = 1000
MODEL = "bench@1"
_SLICE = 500
_KEPT_S = np.zeros(0, np.int16)
_REGION, _ACCOUNT = "us-east-1", "000000000000"

T = TypeVar("T")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    lines = [
        "# Searching fraudsters",
        "",
        "- made by: `python -m bench.search`",
        f"- commit: {provenance.commit()}",
        f"- machine: {provenance.machine()}; on one core of it",
        f"- random voices of {DIMENSION} numbers, {QUERIES} searches, half of them near a voice",
        "",
        "| voices | p50 ms | p99 ms | wrong | MB | list of 500 of them, p99 ms |",
        row(*["---"] * 6),
        *(_searches(size) for size in arguments.sizes),
        "",
        "*wrong*: searches whose answer is not that of comparing each voice by itself.",
        "",
        "## Out of the database",
        "",
        "| voices | opened s | then, with a look at the database p99 ms | after a change p99 ms |",
        row(*["---"] * 4),
    ]
    for size in arguments.sizes:
        _say(f"{size} in the database")
        lines.append(_stored(size))
    print("\n".join(lines))


def _searches(size: int) -> str:
    _say(f"{size} in memory")
    dice = np.random.default_rng(size)
    voices = _unit(dice.normal(size=(size, DIMENSION)))
    before = _resident_bytes()
    gallery = Gallery()
    for number, voice in enumerate(voices):
        lists = ["all", "few"] if number < SIZES[0] else ["all"]
        gallery.put(f"id#{number:022}", voice, list_ids=lists)
    held = _resident_bytes() - before
    near = voices[dice.integers(size, size=QUERIES // 2)]
    near = _unit(near + dice.normal(size=near.shape) * 0.08)
    queries = np.concatenate([near, _unit(dice.normal(size=(QUERIES - len(near), DIMENSION)))])
    wrong = 0
    for query in queries[:: max(1, QUERIES // 100)]:
        nearest = gallery.nearest(query)
        expected = int(np.argmax([float(np.dot(voice, query)) for voice in voices]))
        wrong += nearest is None or nearest.owner_id != f"id#{expected:022}"
    each = [np.asarray(query, np.float32) for query in queries]
    took_ms = _timed(partial(_nearest, gallery, "all"), each)
    few_ms = _timed(partial(_nearest, gallery, "few"), each)
    return row(
        size,
        f"{np.quantile(took_ms, 0.5):.2f}",
        f"{np.quantile(took_ms, 0.99):.2f}",
        f"{wrong} of {len(queries[:: max(1, QUERIES // 100)])}",
        f"{held / 1e6:.0f}",
        f"{np.quantile(few_ms, 0.99):.2f}",
    )


def _stored(size: int) -> str:
    dice = np.random.default_rng(size + 1)
    with tempfile.TemporaryDirectory() as folder:
        root_key = new_key()
        keyring = LocalKeyring(Path(folder) / "keyring.json", SealingKey(root_key), may_create=True)
        keyring.begin()
        store = open_store(f"sqlite:///{folder}/bench.db", Vault(root_key, keyring))
        domain, watchlist_id = store.write_now(lambda tx: _domain(tx, keyring))
        for first in range(0, size, _SLICE):
            some = range(first, min(size, first + _SLICE))
            store.write_now(lambda tx, some=some: _register(tx, domain, watchlist_id, some, dice))
        query = _unit(dice.normal(size=(1, DIMENSION)))[0]

        def search(tx: Transaction) -> None:
            with tx.wanted.gallery(domain, MODEL) as gallery:
                gallery.nearest(query, watchlist_id)

        began_s = time.perf_counter()
        store.read_now(search)
        opened_s = time.perf_counter() - began_s
        again_ms = _timed(store.read_now, [search] * 200)
        changed_ms = [_after_change(store, domain, watchlist_id, dice, search) for _ in range(100)]
        store.close()
    return row(
        size,
        f"{opened_s:.1f}",
        f"{np.quantile(again_ms, 0.99):.2f}",
        f"{np.quantile(changed_ms, 0.99):.2f}",
    )


def _after_change(
    store: Store,
    domain_id: str,
    watchlist_id: str,
    dice: np.random.Generator,
    search: Callable[[Transaction], None],
) -> float:
    store.write_now(lambda tx: _register(tx, domain_id, watchlist_id, range(1), dice))
    return _timed(store.read_now, [search])[0]


def _domain(tx: Transaction, keyring: LocalKeyring) -> tuple[str, str]:
    key = keyring.resolve("alias/bench", region=_REGION, account_id=_ACCOUNT)
    watchlist_id, domain_id = "w" * 22, "d" * 22
    arn = f"arn:aws:voiceid:{_REGION}:{_ACCOUNT}:domain/{domain_id}"
    domain = Domain(
        domain_id=domain_id,
        arn=arn,
        region=_REGION,
        name="bench",
        description=None,
        status="ACTIVE",
        kms_key_id=key,
        default_watchlist_id=watchlist_id,
        encryption_status=None,
        encryption_message=None,
        old_kms_key_id=None,
        version=1,
        created_ms=0,
        updated_ms=0,
    )
    wrapped = keyring.new_data_key(key, domain_arn=arn).wrapped
    tx.domains.add(domain, wrapped_key=wrapped, tags={})
    tx.watchlists.add(
        Watchlist(
            watchlist_id=watchlist_id,
            domain_id=domain_id,
            name="all",
            description=None,
            is_default=True,
            created_ms=0,
            updated_ms=0,
        )
    )
    return domain_id, watchlist_id


def _register(
    tx: Transaction, domain_id: str, watchlist_id: str, some: range, dice: np.random.Generator
) -> None:
    for voice in _unit(dice.normal(size=(len(some), DIMENSION))):
        fraudster = Fraudster(
            fraudster_id=generated_id(),
            domain_id=domain_id,
            watchlist_ids=(watchlist_id,),
            created_ms=0,
        )
        tx.fraudsters.add(fraudster)
        tx.voiceprints.put(
            Voiceprint(
                owner_id=fraudster.fraudster_id,
                domain_id=domain_id,
                model=MODEL,
                vector=voice,
                created_ms=0,
            ),
            speech=_KEPT_S,
        )


def _nearest(gallery: Gallery, list_id: str, query: Floats) -> object:
    return gallery.nearest(query, list_id)


def _timed(search: Callable[[T], object], queries: Iterable[T]) -> list[float]:
    took_ms: list[float] = []
    for query in queries:
        began_s = time.perf_counter()
        search(query)
        took_ms.append((time.perf_counter() - began_s) * 1000)
    return took_ms


def _unit(rows: np.ndarray) -> Floats:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
