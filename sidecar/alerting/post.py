"""One notice, posted: what the receiver said, and whether to try again."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from sidecar.alerting.notice import Notice, message
from sidecar.alerting.target import Target

if TYPE_CHECKING:
    from aiohttp import ClientSession

TIMEOUT_S = 10.0
CONNECT_S = 5.0
ANSWER_SHOWN = 200
_LATER = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    taken: bool
    again: bool
    """Whether trying again may help."""
    words: str
    """One line for people."""
    status: int | None = None
    retry_after_s: float | None = None


async def post(
    session: ClientSession, target: Target, notice: Notice, now_us: int, secret: bytes | None
) -> Answer:
    """Posts once. Never raises for what the receiver or the network do."""
    import aiohttp

    headers, body = message(target.kind, notice, now_us, secret)
    try:
        async with session.post(target.url, data=body, headers=headers, allow_redirects=False) as answer:
            said = (await answer.content.read(4 * ANSWER_SHOWN)).decode("utf-8", "replace")
            return judged(answer.status, said, answer.headers.get("Retry-After"), now_us)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Answer(False, True, _reason(error))


def judged(status: int, said: str, retry_after: str | None, now_us: int) -> Answer:
    """What an answer means."""
    if 200 <= status < 300:
        return Answer(True, False, f"taken, {status}", status)
    if 300 <= status < 400:
        return Answer(
            False, False, f"answered {status}, a redirect: give the address that it leads to", status
        )
    shown = " ".join(said.split())[:ANSWER_SHOWN]
    words = f"answered {status}" + (f": {_printable(shown)}" if shown else "")
    again = status >= 500 or status in _LATER
    return Answer(False, again, words, status, _seconds(retry_after, now_us))


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _seconds(retry_after: str | None, now_us: int) -> float | None:
    """Retry-After in seconds: a number or a date (RFC 9110, section 10.2.3)."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(int(retry_after)))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now_us / 1e6)
    except (ValueError, TypeError):
        return None


def session(ca: ssl.SSLContext | bool = True) -> ClientSession:
    """A client with time-outs; to be closed by the caller."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
    connector = aiohttp.TCPConnector(limit=4, ssl=ca)
    return aiohttp.ClientSession(
        connector=connector, timeout=timeout, trust_env=True, headers={"User-Agent": "sidecar"}
    )


def _reason(error: BaseException) -> str:
    import aiohttp

    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s: check the network"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved: check the address and the DNS"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection before it answered"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"the request could not be sent ({type(error).__name__})"
