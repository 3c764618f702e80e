"""Kafka's own protocol, as far as a transaction of whole record batches asks for it.

| module          | what it holds                                                        |
| --------------- | -------------------------------------------------------------------- |
| `messages`      | the requests and answers, field by field                             |
| `connection`    | a connection to one broker: TLS, login, requests in turn             |
| `brokers`       | which broker leads what, and a connection to each                    |
| `batches`       | records of a block as record batches, compiled where possible        |
| `transactional` | the producer: one transaction after the other                        |

Why it is there, and where librdkafka's producer stands in: docs/adr/0039.
"""
