"""What subscribers are told to put into their clients."""

from __future__ import annotations

import json

from exchange.subscriber.client_config import ClientConfig, render

KAFKA = {
    "bootstrap.servers": "127.0.0.1:19092",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "school-office",
    "sasl.password": 'se"cr\\et',
    "ssl.ca.location": "/etc/ca.pem",
    "group.id": "school-office.main",
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
}
CONFIG = ClientConfig("school-office", KAFKA, "http://127.0.0.1:18081", ("share.population.person.school",))


def _properties(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_librdkafka_gets_its_own_property_names_and_nothing_it_does_not_know() -> None:
    assert _properties(render(CONFIG, "librdkafka")) == KAFKA


def test_java_logs_in_by_a_quoted_jaas_line_and_knows_the_registry() -> None:
    properties = _properties(render(CONFIG, "java"))
    assert properties["sasl.jaas.config"] == (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="school-office" password="se\\\\"cr\\\\\\\\et";'
    )
    assert properties["ssl.truststore.location"] == "/etc/ca.pem"
    assert properties["schema.registry.url"] == "http://127.0.0.1:18081"
    assert not {"sasl.username", "sasl.password", "ssl.ca.location"} & set(properties)


def test_every_format_reads_committed_records_in_a_group_of_the_subscriber() -> None:
    for form in ("librdkafka", "java"):
        properties = _properties(render(CONFIG, form))
        assert properties["isolation.level"] == "read_committed"
        assert properties["group.id"].startswith(CONFIG.group_prefix)


def test_json_holds_the_same_with_prefix_registry_and_topics() -> None:
    document = json.loads(render(CONFIG, "json"))
    assert document["kafka"] == KAFKA
    assert document["group_id_prefix"] == "school-office."
    assert document["registry"] == {"url": "http://127.0.0.1:18081"}
    assert document["topics"] == ["share.population.person.school"]


def test_the_notes_say_which_topics_are_granted() -> None:
    assert "# Topics granted: share.population.person.school\n" in render(CONFIG, "java")
    none_known = ClientConfig("a", KAFKA, "http://x", None)
    assert "# Topics granted: unknown here, no topology file was found\n" in render(none_known, "java")
    assert "# Topics granted: none yet\n" in render(ClientConfig("a", KAFKA, "http://x", ()), "librdkafka")


def test_each_format_has_the_notes_that_concern_it() -> None:
    assert '# Every group.id must begin with "school-office."\n' in render(CONFIG, "java")
    assert "librdkafka 2.6.1" in render(CONFIG, "librdkafka")
    assert "librdkafka 2.6.1" not in render(CONFIG, "java")
