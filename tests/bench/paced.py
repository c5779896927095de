"""Calls at a given rate, however fast they are answered: `python -m tests.bench.paced URL FILE RATE SECONDS`.

Calls are due at random times, as those of independent clients are, and a delay
counts from the due time: a slow answer does not spare the server the next call.
Prints one line of JSON.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 8
TIMEOUT_S = 10


def drive(url: str, bodies: list[bytes], rate_s: float, seconds: float) -> list[float]:
    """Seconds from due time to whole answer, of every call. Raises OSError for one that failed."""
    begin = time.perf_counter() + 0.5
    delays: list[float] = []
    failures: list[Exception] = []

    def client(seed: int) -> None:
        random_ = random.Random(seed)
        place = urlsplit(url)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            place.hostname or "", place.port, timeout=TIMEOUT_S, context=context
        )
        due = begin
        try:
            connection.connect()
            while (due := due + random_.expovariate(rate_s / CONNECTIONS)) < begin + seconds:
                time.sleep(max(0.0, due - time.perf_counter()))
                body = random_.choice(bodies)
                path = f"{place.path}?{place.query}"
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise OSError(f"status {answer.status}")
                delays.append(time.perf_counter() - due)
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise OSError(f"{len(failures)} of {CONNECTIONS} connections failed: {failures[0]}")
    return sorted(delays)


def main(url: str, bodies: str, rate_s: str, seconds: str) -> None:
    delays = drive(url, Path(bodies).read_bytes().splitlines(), float(rate_s), float(seconds))
    at = {share: delays[int(share / 100 * (len(delays) - 1))] * 1000 for share in (50, 99, 100)}
    print(json.dumps({"calls": len(delays), "p50_ms": at[50], "p99_ms": at[99], "max_ms": at[100]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
