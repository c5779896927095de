"""What the bench sends: mortgage applications as JSON of exactly 300 bytes, and large random bodies."""

from __future__ import annotations

import json
import random
from hashlib import sha256

SMALL_BYTES = 300
LARGE_BYTES = 16 << 20


def applications(count: int, seed: int = 7) -> list[bytes]:
    """Different requests of 11 features each, so that neither compression nor statistics see one value only.

    Blanks at the end make up the length: JSON allows them, and every request costs the wire the same.
    """
    source = random.Random(seed)
    bodies = []
    for _ in range(count):
        features = {
            "debt_to_income_ratio": round(source.gauss(0.33, 0.1), 3),
            "housing_expense_ratio": round(source.gauss(0.25, 0.09), 3),
            "loan_to_value_ratio": round(source.gauss(0.74, 0.18), 3),
            "consumer_credit_score": source.choice([1, 1, 2, 2, 3, 4, 5, 6]),
            "mortgage_credit_score": source.choice([1, 2, 2, 3]),
            "bad_public_record": source.choice(["no"] * 12 + ["yes"]),
            "insurance_denied": source.choice(["no"] * 40 + ["yes"]),
            "self_employed": source.choice(["no"] * 8 + ["yes"]),
            "single": source.choice(["no", "no", "yes"]),
            "unemployment_rate": source.choice([1.8, 2.0, 3.1, 3.2, 3.6, 3.9, 4.3]),
            "condominium": source.choice([0, 0, 1]),
        }
        body = json.dumps(features, separators=(",", ":")).encode()
        if len(body) > SMALL_BYTES:
            raise ValueError(f"an application of {len(body)} bytes: at most {SMALL_BYTES}")
        bodies.append(body.ljust(SMALL_BYTES))
    return bodies


def large_body(seed: int) -> bytes:
    """16 MiB that no codec makes smaller, the same for the same seed."""
    return random.Random(seed).randbytes(LARGE_BYTES)


UPLOAD_SEED = 1
DOWNLOAD_SEED = 2


def large_digest(seed: int) -> str:
    return sha256(large_body(seed)).hexdigest()
