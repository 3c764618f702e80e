"""A receiver of webhooks, as a subscriber writes it: signatures verified by its own means, records kept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

OLDEST_S = 300


@dataclass(frozen=True)
class Posted:
    """One request that came in, and what it was answered; records are those of a body that was accepted."""

    id: str
    signatures: list[str]
    body: bytes
    status: int

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


@dataclass
class WebhookReceiver:
    """Listens from construction until `close`.

    key: whsec_ or whpk_, as `exchange webhook-key` prints it; answer: status and headers of the next request,
    None closes the connection instead; refuses: which bodies are answered with 422.
    """

    key: str = ""
    answer: Callable[[], tuple[int, dict[str, str]] | None] = lambda: (200, {})
    refuses: Callable[[Any], bool] = lambda _: False
    posted: list[Posted] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # of killed senders
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def accepted(self, view: str) -> Iterator[dict[str, Any]]:
        """Yield the records of a view in the order of their coming, each once by its place."""
        seen: set[tuple[int, int]] = set()
        for one in list(self.posted):
            if one.status != 200 or one.data["view"] != view:
                continue
            for record in one.data["records"]:
                place = record["partition"], record["offset"]
                if place not in seen:
                    seen.add(place)
                    yield record

    def ids(self, status: int = 200) -> list[str]:
        return [one.id for one in self.posted if one.status == status]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def verifies(self, message_id: str, timestamp: str, signatures: list[str], body: bytes) -> bool:
        """Tell whether one of the signatures is by our key and the message is fresh."""
        if abs(time.time() - int(timestamp)) > OLDEST_S:
            return False
        content = b".".join((message_id.encode(), timestamp.encode(), body))
        kind, _, text = self.key.partition("_")
        raw = base64.b64decode(text)
        for version, _, signature in (one.partition(",") for one in signatures):
            if kind == "whsec" and version == "v1":
                wanted = base64.b64encode(hmac.digest(raw, content, hashlib.sha256)).decode()
                if hmac.compare_digest(wanted, signature):
                    return True
            if kind == "whpk" and version == "v1a":
                try:
                    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(signature), content)
                except InvalidSignature:
                    continue
                return True
        return False

    def _take(self, headers: Any, body: bytes) -> tuple[int, dict[str, str]] | None:
        message_id, signatures = headers["webhook-id"], headers["webhook-signature"].split()
        answer = (422, {}) if self.refuses(json.loads(body)) else self.answer()
        if not self.verifies(message_id, headers["webhook-timestamp"], signatures, body):
            self.forged.append(message_id)
            answer = (401, {})
        status = 0 if answer is None else answer[0]
        self.posted.append(Posted(message_id, signatures, body, status))
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                whole = len(body) == length  # else its sender was killed meanwhile
                answer = receiver._take(self.headers, body) if whole else None
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                for name, value in ({"Content-Length": "0"} | answer[1]).items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
