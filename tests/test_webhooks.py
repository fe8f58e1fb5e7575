"""Webhooks, as a receiver sees them that checks signatures with the library of Standard Webhooks."""

import base64
import queue
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import Api
from instance import running, token_of
from standardwebhooks import Webhook, WebhookVerificationError

TEXT = b"hello"
EXPECTED = {"file.signed", "file.confirmed", "file.processing", "file.ready"}


class Receiver:
    """An HTTP server that answers with the statuses that it was told, then with 200."""

    def __init__(self):
        self.seen, self.statuses = queue.Queue(), queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    status = receiver.statuses.get_nowait()
                except queue.Empty:
                    status = 200
                receiver.seen.put((dict(self.headers), body, status))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks?token={secrets.token_hex(8)}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        """Headers, body and answered status of the next message."""
        return self.seen.get(timeout=60)


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.mark.every_pair
def test_every_event_arrives_signed(receiver, tmp_path, pair):
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    settings = {
        "CLOAKROOM_WEBHOOKS_URL": receiver.url,
        "CLOAKROOM_WEBHOOKS_SECRET": secret,
        "CLOAKROOM_WEBHOOKS_ALLOW_PRIVATE": "true",
    }
    receiver.statuses.put(503)
    with running(tmp_path, pair, settings) as server:
        api = Api(server, token_of(server, "ann"))
        ticket = api.sign(TEXT, filename="a.txt", content_type="text/plain", collection="files")
        assert api.put(ticket, TEXT).ok
        assert api.confirm(ticket["file_id"]).ok
        file = api.wait_ready(ticket["file_id"])
        taken, refused = {}, set()
        while not refused <= set(taken) or not EXPECTED <= {message["type"] for message in taken.values()}:
            headers, body, status = receiver.next()
            message = Webhook(secret).verify(body, headers)
            assert message["data"]["event_id"] == headers["webhook-id"]
            assert message["data"]["file_id"] == file["file_id"]
            if status == 200:
                assert headers["webhook-id"] not in taken, "none was lost, so none comes twice"
                taken[headers["webhook-id"]] = message
            else:
                refused.add(headers["webhook-id"])
    assert len(refused) == 1
    another = Webhook("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    with pytest.raises(WebhookVerificationError):
        another.verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body.replace(b"file.", b"fill."), headers)
    log = (tmp_path / "log").read_text()
    assert secret not in log and receiver.url not in log and receiver.url.rsplit("=", 1)[1] not in log
