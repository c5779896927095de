"""The small HTTP services from which clouds hand out credentials, on this machine."""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs

from tests.support.seaweed import Identity

ROLE = "recorder"
TOKEN = "a-federated-token-2b7d"


class AmazonCredentials:
    """Instance metadata (version 2), the container's endpoint and STS for web identities, all for one identity."""

    def __init__(self, identity: Identity, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        credentials = _document(identity)
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer("metadata-session" if self.path == "/latest/api/token" else None)

            def do_GET(self) -> None:
                roles = "/latest/meta-data/iam/security-credentials/"
                if self.path == roles and self.headers.get("x-aws-ec2-metadata-token") == "metadata-session":
                    self._answer(ROLE)
                elif self.path == roles + ROLE or (
                    self.path == "/v2/credentials" and self.headers.get("authorization") == TOKEN
                ):
                    self._answer(credentials)
                else:
                    self._answer(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
                query = parse_qs(self.path.partition("?")[2] or body)
                right = query.get("WebIdentityToken") == [TOKEN] and query.get("RoleArn") == [
                    f"arn:aws:iam::1:role/{ROLE}"
                ]
                self._answer(_sts(identity) if right else None)

            def _answer(self, text: str | None) -> None:
                asked.append(f"{self.command} {self.path.partition('?')[0]}")
                body = (text or "").encode()
                self.send_response(200 if text is not None else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> AmazonCredentials:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _expiry() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _document(identity: Identity) -> str:
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": identity.key,
            "SecretAccessKey": identity.secret,
            "Token": "",
            "Expiration": _expiry(),
        }
    )


def _sts(identity: Identity) -> str:
    return (
        "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
        f"<AccessKeyId>{identity.key}</AccessKeyId><SecretAccessKey>{identity.secret}</SecretAccessKey>"
        f"<SessionToken></SessionToken><Expiration>{_expiry()}</Expiration>"
        "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
