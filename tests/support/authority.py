"""A real time stamp authority of RFC 3161 on this machine: `openssl ts` behind HTTP."""

from __future__ import annotations

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

_CONFIG = """
[ req ]
distinguished_name = name
[ name ]
[ ca ]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[ tsa ]
basicConstraints = critical, CA:false
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
[ stamps ]
dir = {folder}
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class Authority:
    """A root, a signer below it, and a server that stamps what it is sent."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.root = folder / "ca.pem"
        self.answers = 0
        self.refuses = False
        (folder / "openssl.cnf").write_text(_CONFIG.format(folder=folder))
        (folder / "serial").write_text("01\n")
        new = ("req", "-new", "-newkey", "rsa:2048", "-nodes", "-config", folder / "openssl.cnf")
        self._openssl(
            *(*new, "-x509", "-days", "30", "-subj", "/CN=Test root", "-extensions", "ca"),
            *("-keyout", folder / "ca.key", "-out", self.root),
        )
        self._openssl(
            *new, "-subj", "/CN=Test TSA", "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr"
        )
        self._openssl(
            *("x509", "-req", "-in", folder / "tsa.csr", "-CA", self.root, "-CAkey", folder / "ca.key"),
            *("-days", "30", "-CAcreateserial", "-extfile", folder / "openssl.cnf", "-extensions", "tsa"),
            *("-out", folder / "tsa.pem"),
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/tsa"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, query: bytes) -> bytes:
        self.answers += 1
        question, answer = (self._folder / f"{self.answers}.{kind}" for kind in ("tsq", "tsr"))
        question.write_bytes(query)
        self._openssl(
            *("ts", "-reply", "-config", self._folder / "openssl.cnf", "-section", "stamps"),
            *("-queryfile", question, "-out", answer),
        )
        return answer.read_bytes()

    def _openssl(self, *arguments: object) -> None:
        done = subprocess.run(
            ["openssl", *map(str, arguments)], capture_output=True, text=True, cwd=self._folder, check=False
        )
        assert done.returncode == 0, done.stderr

    def _handler(authority) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                if authority.refuses or self.headers["Content-Type"] != "application/timestamp-query":
                    self.send_error(503)
                    return
                answer = authority.reply(query)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler
