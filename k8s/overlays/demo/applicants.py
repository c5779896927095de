"""Sends the mortgage applications to the model, twenty a second, until SIGTERM."""

import http.client
import json
import sys
import time
from itertools import count
from pathlib import Path

from docs.demo.applications import as_filed, open_inference_body

RATE = 20.0
applications = json.loads(Path("/demo/applications.json").read_text())["applications"]

answered = 0
for seed in count():
    for application in as_filed(applications, seed):
        began = time.monotonic()
        connection = http.client.HTTPConnection("mortgage", 80, timeout=10)
        try:
            body = open_inference_body(application)
            connection.request(
                "POST", "/v2/models/mortgage/infer", body, {"Content-Type": "application/json"}
            )
            answered += connection.getresponse().status == 200
        except OSError as error:
            print(f"no answer: {error}", file=sys.stderr, flush=True)
            time.sleep(1)
        finally:
            connection.close()
        if answered and answered % 200 == 0:
            print(f"{answered} applications answered", flush=True)
        time.sleep(max(0.0, 1 / RATE - (time.monotonic() - began)))
