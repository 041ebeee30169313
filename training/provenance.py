"""Where a report comes from: the state of the code and the machine, for its first lines."""

import platform
import subprocess
from pathlib import Path

_CPU_FACTS = Path("/proc/cpuinfo")


def commit() -> str:
    """The checked-out commit, and whether the tree differs from it."""
    head = _git("rev-parse", "--short=12", "HEAD") or "none yet"
    return f"{head} with local changes" if _git("status", "--porcelain") else head


def machine() -> str:
    """System, processors and Python."""
    names: list[str] = []
    if _CPU_FACTS.exists():
        lines = _CPU_FACTS.read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{len(names)} x {names[0]}" if names else platform.processor() or "unknown processor"
    return f"{platform.system()} {platform.machine()}, {cpu}, Python {platform.python_version()}"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""
