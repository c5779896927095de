"""KServe V1 and TensorFlow Serving's REST predict API: `instances` by row or `inputs` by column.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import re
from typing import Any

from sidecar.decode.columns import from_columnar, from_rows, kind_of
from sidecar.decode.payload import ABSENT, Target
from sidecar.decode.predictions import answer_columns
from sidecar.errors import DecodeError
from sidecar.records import Observation

_PATH = re.compile(
    r"(?:.*/)?v1/models/(?P<model>[^/:]+)(?:/(?:versions|labels)/(?P<version>[^/:]+))?:predict/?", re.DOTALL
)


class TfServing:
    """`POST /v1/models/NAME[/versions/V]:predict`."""

    name = "tf_serving"

    def target(self, path: str) -> Target | None:
        """Model and version (or version label) out of the path, under any prefix."""
        return Target.matched(_PATH, path)

    def fits(self, request: Any) -> bool:
        """Whether there is a list of instances, or columns under `inputs`."""
        if type(request) is not dict:
            return False
        return type(request.get("instances")) is list or type(request.get("inputs")) in (list, dict)

    def observe(self, target: Target, request: Any, answer: Any) -> Observation:
        """Columns of instances and predictions; see docs/decoders.md for their names."""
        if type(request) is not dict:
            raise DecodeError(f"request: an object was expected where {kind_of(request)} is")
        if "instances" in request:
            rows = request["instances"]
            if type(rows) is not list:
                raise DecodeError(f"request.instances: a list was expected where {kind_of(rows)} is")
            instances, inputs = len(rows), from_rows("instances", rows, "request.instances")
        elif "inputs" in request:
            instances, inputs = from_columnar("inputs", request["inputs"], "request.inputs")
        else:
            raise DecodeError("request: neither 'instances' nor 'inputs'")
        outputs = {} if answer is ABSENT else answer_columns(answer, instances)
        return Observation(self.name, instances, inputs, outputs, target.model, target.version)
