"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil  # type: ignore[import-untyped]

from exchange.local.jars import pinned


def machine() -> dict[str, Any]:
    """Return the machine's size and the versions that matter."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1024**3, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "kafka": next(jar.version for jar in pinned() if jar.name == "kafka-clients"),
        "librdkafka": confluent_kafka.libversion()[0],
        "exchange": _version("exchange-bus"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE)):
        return found.group(1)
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
