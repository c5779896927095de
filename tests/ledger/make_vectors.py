"""Writes tests/ledger/vectors.json: `python -m tests.ledger.make_vectors > tests/ledger/vectors.json`.

It uses the second implementation of independent.py, so that the vectors owe
nothing to sidecar/ledger. All keys, salts and nonces are fixed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import sys
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.ledger import independent as second
from tests.ledger import rfc6962

BOOT = "20261123T231500-9f3c2a71b0"
ROUTE = "default"
LOG = f"{BOOT}.{ROUTE}"
UID = "3d1f6a52-7c0e-4c7b-9a43-0c2a1f5b6d7e"
PREFIX = f"prod-eu.default.mortgage.{UID}"
ORIGIN = f"{PREFIX}.{ROUTE}.{BOOT}"
NOW_US = 1_764_000_000_000_000
DIGEST = "sha256:" + hashlib.sha256(b"the model's image").hexdigest()

SEEDS = {
    "log": bytes([1] * 32),
    "enrolment": bytes([2] * 32),
    "witness": bytes([3] * 32),
    "operator": bytes([4] * 32),
}
HOLDERS = {
    "log": ORIGIN,
    "enrolment": "keys.example/enrolment",
    "witness": "witness.example/w1",
    "operator": "operator.example",
}


def public(name: str) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(SEEDS[name]).public_key().public_bytes_raw()


def key_text(name: str, kind: int, data: bytes) -> str:
    return f"{HOLDERS[name]}+{second.key_id(HOLDERS[name], kind, public(name)).hex()}+{second.b64(bytes([kind]) + data)}"


def signed(name: str, text: str) -> str:
    signature = Ed25519PrivateKey.from_private_bytes(SEEDS[name]).sign(text.encode())
    return (
        f"{text}\n— {HOLDERS[name]} {second.b64(second.key_id(HOLDERS[name], 1, public(name)) + signature)}\n"
    )


def text_of(details: dict[str, Any]) -> str:
    return json.dumps(details, separators=(",", ":"), ensure_ascii=False)


def fixed(label: str, count: int = 32) -> bytes:
    """Bytes that look random and are the same every time."""
    return hashlib.sha256(f"sidecar test vector: {label}".encode()).digest()[:count]


ENROLMENT = signed("enrolment", f"sidecar-enrolment/1\n{PREFIX}\n{BOOT}\n{second.b64(public('log'))}\n")
SETTINGS = {"heartbeat": "5m", "store": "s3://evidence"}
FIRST = {
    "log": LOG, "route": ROUTE, "boot": BOOT, "model": "mortgage", "image_digest": DIGEST, "artifact_digest": None,
    "identity_source": "flag", "epoch": 1,
}  # fmt: skip

REQUEST = '{"inputs":[{"name":"income","shape":[1],"datatype":"FP64","data":[5.2]}]}'
RESPONSE = '{"model_name":"mortgage","outputs":[{"name":"denied","shape":[1],"datatype":"INT64","data":[0]}]}'
INPUTS, OUTPUTS = '{"income":[5.2]}', '{"denied":[0]}'


def exchange(seq: int, request: bytes, response: bytes) -> dict[str, Any]:
    """A complete exchange, without what differs between clear and encrypted ones."""
    head = (
        "POST /v2/models/mortgage/infer HTTP/1.1\r\nHost: mortgage.default.svc\r\nContent-Type: application/json\r\n"
        f"X-Request-Id: 7b0c{seq:04d}\r\nUser-Agent: loan-desk/4.2\r\nContent-Length: {len(request)}\r\n\r\n"
    )
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(response)}\r\n\r\n"
    return {
        "record_id": f"{LOG}.{seq}", "kind": "exchange", "seq": seq, "connection": 41, "client": "10.4.0.17:50814",
        "t_request_us": NOW_US + 1_000 * seq, "t_request_end_us": NOW_US + 1_000 * seq + 90,
        "t_first_byte_us": NOW_US + 1_000 * seq + 3_100, "t_end_us": NOW_US + 1_000 * seq + 3_150, "method": "POST",
        "path": "/v2/models/mortgage/infer", "status": 200, "outcome": "complete",
        "request_bytes": len(head) + len(request), "response_bytes": len(answer) + len(response),
        "request_head": head.encode().hex(), "response_head": answer.encode().hex(), "request_complete": True,
        "response_complete": True, "decoder": "v2",
    }  # fmt: skip


def own(kind: str, index: int, details: dict[str, Any]) -> dict[str, Any]:
    """A row that the log adds itself."""
    return {
        "record_id": f"{ORIGIN}.{kind}.{index}", "kind": kind, "t_request_us": NOW_US + 10_000 * index,
        "details": text_of(details),
    }  # fmt: skip


def encryption() -> tuple[dict[str, Any], dict[str, Any]]:
    """An encrypted exchange, and everything that opens it."""
    row = exchange(5, REQUEST.encode(), RESPONSE.encode())
    identifier = row["record_id"].encode()
    record_key, subject_key, subject_id = fixed("record key"), fixed("subject key"), fixed("subject id", 16)
    master, hmac_key, subject = fixed("master key"), fixed("hmac key"), "applicant-4711"
    plain = {
        "request_body": REQUEST, "response_body": RESPONSE,
        "decoded_ciphertext": f'{{"inputs":{INPUTS},"outputs":{OUTPUTS},"decision":"granted"}}',
    }  # fmt: skip
    for number, (column, text) in enumerate(plain.items(), 1):
        aad = identifier + b"\x00" + column.encode()
        row[column] = AESGCM(record_key).encrypt(bytes(11) + bytes([number]), text.encode(), aad).hex()
    nonce = fixed("wrap record", 12)
    extracted = hmac.new(bytes(32), master, hashlib.sha256).digest()
    index_key = hmac.new(extracted, b"sidecar subject index\x01", hashlib.sha256).digest()
    row |= {
        "keys": {"applicant": second.mac(hmac_key, "A-4711")},
        "subject_key_id": subject_id.hex(),
        "wrapped_key": (nonce + AESGCM(subject_key).encrypt(nonce, record_key, identifier)).hex(),
        "key_commitment": hashlib.sha256(b"sidecar record key\x00" + record_key).hexdigest(),
    }
    nonce = fixed("wrap subject", 12)
    wrapped = nonce + AESGCM(master).encrypt(nonce, subject_key, subject_id)
    entry = {"id": subject_id.hex(), "tag": second.mac(index_key, subject), "wrapped": second.b64(wrapped)}
    opened = {
        "master_key": master.hex(), "hmac_key": hmac_key.hex(), "subject": subject, "plain": plain,
        "business_keys": {"applicant": "A-4711"},
        "key_object": {
            "format": 1, "batch": f"{ORIGIN}-L000000000005-000000000008",
            "master": hashlib.sha256(b"sidecar master key\x00" + master).hexdigest()[:8], "subjects": [entry],
        },
    }  # fmt: skip
    return row, opened


def rows(encrypted: dict[str, Any]) -> list[dict[str, Any]]:
    nowhere = {"cluster": "prod-eu", "namespace": "default", "workload": "mortgage", "pod_uid": UID}
    genesis = {
        "origin": ORIGIN, "public_key": key_text("log", 1, public("log")), "enrolment": ENROLMENT, **nowhere,
        "route": ROUTE, "boot": BOOT, "version": "0.3.0", "previous": None, "continues": None,
    }  # fmt: skip
    config = {"settings": SETTINGS, "sha256": hashlib.sha256(text_of(SETTINGS).encode()).hexdigest()}
    identity = {
        "number": 1, "model": "mortgage", "image_digest": DIGEST, "artifact_digest": None, "source": "flag",
        "since_us": NOW_US - 5_000_000,
    }  # fmt: skip
    clear = {
        **exchange(1, REQUEST.encode(), RESPONSE.encode()), "request_body": REQUEST.encode().hex(),
        "response_body": RESPONSE.encode().hex(), "inputs": INPUTS, "outputs": OUTPUTS, "decision": "granted",
        "keys": {"zone": "Süd", "applicant": "A-4711", "étage": None},
    }  # fmt: skip
    gap = {
        "record_id": f"{LOG}.2", "kind": "gap", "seq": 2, "count": 3, "t_request_us": NOW_US + 2_000,
        "t_end_us": NOW_US + 9_000, "reason": "killed",
    }  # fmt: skip
    date = "records/model=mortgage/digest=" + DIGEST.replace(":", "-") + "/date=2025-11-24"
    batch = {
        "name": f"{date}/{ORIGIN}-L000000000000-000000000004-S000000000001-000000000004-{fixed('file').hex()[:16]}.parquet",
        "sha256": fixed("file").hex(),
    }
    given = [
        ("genesis", own("genesis", 0, genesis), False),
        ("config", own("config", 1, config), False),
        ("identity", own("identity", 2, identity), False),
        ("exchange, clear", clear, True),
        ("gap", gap, False),
        ("batch", own("batch", 5, batch), False),
        ("exchange, encrypted", encrypted, True),
        ("heartbeat", own("heartbeat", 7, {}), False),
        ("close", own("close", 8, {"size": 8}), False),
    ]
    found = []
    for name, row, salted in given:
        salt = fixed(f"salt of {name}") if salted else None
        encoded = second.canonical(FIRST, row, salt)
        found.append(
            {
                "name": name, "log": FIRST, "row": row, "salt": salt.hex() if salt else None,
                "canonical": encoded.hex(), "leaf_hash": second.leaf(encoded).hex(),
            }
        )  # fmt: skip
    return found


def site() -> list[str]:
    """Two entries of a site log, as their objects are stored."""
    bodies: list[tuple[str, dict[str, Any]]] = [
        (
            "hold",
            {
                "reason": "case 7/2026 – Süd",
                "scope": "model",
                "model": "mortgage",
                "record": None,
                "tags": None,
            },
        ),
        ("release", {"holds": [0], "reason": "closed"}),
    ]
    leaves: list[bytes] = []
    objects: list[str] = []
    for index, (kind, body) in enumerate(bodies):
        t_us = NOW_US + 86_400_000_000 * (index + 1)
        leaves.append(second.leaf(second.msgpack([1, index, t_us, kind, second.sorted_json(body)])))
        root = second.b64(second.root(leaves))
        previous = hashlib.sha256(objects[-1].encode()).hexdigest() if objects else None
        head = {
            "format": 1,
            "index": index,
            "previous": previous,
            "t_us": t_us,
            "kind": kind,
            "body": dict(sorted(body.items())),
        }
        tail = {
            "root": root,
            "key": key_text("operator", 1, public("operator")),
            "note": signed("operator", f"site\n{index + 1}\n{root}\n"),
        }
        objects.append(text_of({**head, **tail}) + "\n")
    return objects


MSGPACK: list[tuple[Any, int]] = [
    (None, 1), (False, 1), (True, 1), (0, 1), (127, 1), (128, 1), (255, 1), (256, 1), (65_535, 1), (65_536, 1),
    (2**32 - 1, 1), (2**32, 1), (2**63 - 1, 1), (-1, 1), (-32, 1), (-33, 1), (-128, 1), (-129, 1), (-32_768, 1),
    (-32_769, 1), (-(2**31), 1), (-(2**31) - 1, 1), (-(2**63), 1), ("", 1), ("a", 31), ("a", 32), ("é", 127), ("é", 128),
    ("a", 65_535), ("a", 65_536), (b"", 1), (b"\xff", 255), (b"\xff", 256), (b"\xff", 65_535), (b"\xff", 65_536),
    ([], 1), ([None], 15), ([None], 16),
]  # fmt: skip


def msgpack_forms() -> list[dict[str, Any]]:
    found = []
    for value, repeat in MSGPACK:
        whole = value * repeat if repeat > 1 else value
        encoded = second.msgpack(whole)
        vector: dict[str, Any] = {"value": value, "encoded": encoded[:16].hex(), "length": len(encoded)}
        if isinstance(value, bytes):
            vector |= {"value": value.hex(), "type": "binary"}
        if repeat > 1:
            vector["repeat"] = repeat
        found.append(vector)
    return found


ORIGINS: list[list[str]] = [
    ["prod-eu", "default", "mortgage", UID, "default", BOOT],
    ["prod-eu", "default", "mortgage", UID, "default", BOOT, "20261122T101010-0000000000"],
    ["", "", "", "", "default", BOOT],
    ["_", "a.b", "a/b", "ü~", "v1 beta", BOOT],
    ["a-cluster-with-a-long-name", "n", "credit-decision-service-canary", "p", "%123456", BOOT],
    ["cluster.ü", "ññññññññññññ", "w", "p", "r", BOOT],
]


def vectors() -> dict[str, Any]:
    encrypted, opened = encryption()
    sealed = rows(encrypted)
    leaves = [bytes.fromhex(each["leaf_hash"]) for each in sealed]
    checkpoints = [
        signed("log", f"{ORIGIN}\n{size}\n{second.b64(second.root(leaves[:size]))}\n") for size in (5, 9)
    ]
    time_s = NOW_US // 1_000_000 + 3_600
    body = checkpoints[1].rpartition("\n\n")[0] + "\n"
    stamped = struct.pack(">Q", time_s) + Ed25519PrivateKey.from_private_bytes(SEEDS["witness"]).sign(
        f"cosignature/v1\ntime {time_s}\n{body}".encode()
    )
    cosignature = second.b64(second.key_id(HOLDERS["witness"], 4, public("witness")) + stamped)
    inclusion = [[each.hex() for each in rfc6962.path(index, leaves)] for index in range(len(leaves))]
    of = {**second.columns("log-columns"), **second.columns("row-columns")}
    clear = sealed[3]
    values = {**dict.fromkeys(of), **clear["log"], **clear["row"]}
    path = "".join(second.b64(bytes.fromhex(each)) + "\n" for each in inclusion[3])
    return {
        "about": "Test vectors of docs/evidence.md. Binary values are hex; columns that a row does not name are null.",
        "msgpack": msgpack_forms(),
        "rows": sealed,
        "rfc6962": {
            "leaves": [each.hex() for each in rfc6962.VECTOR_LEAVES],
            "roots": [
                second.root([second.leaf(each) for each in rfc6962.VECTOR_LEAVES[: count + 1]]).hex() for count in range(8)
            ],
        },
        "inclusion": inclusion,
        "consistency": {"old": 5, "new": 9, "path": [each.hex() for each in rfc6962.proof(5, leaves)]},
        "public_key": key_text("log", 1, public("log")),
        "private_keys": {name: "PRIVATE+KEY+" + key_text(name, 1, SEEDS[name]) for name in SEEDS},
        "public_keys": {name: key_text(name, 1, public(name)) for name in SEEDS},
        "checkpoints": checkpoints,
        "enrolment": ENROLMENT,
        "cosigner": key_text("witness", 4, public("witness")),
        "cosigned": f"{checkpoints[1]}— {HOLDERS['witness']} {cosignature}\n",
        "cosigned_at_s": time_s,
        "origins": [{"parts": parts, "origin": second.origin(parts)} for parts in ORIGINS],
        "encryption": opened,
        "site": site(),
        "receipt": {
            "format": "sidecar-receipt/1", "canonical": 1,
            "record": {
                name: second.b64(bytes.fromhex(values[name])) if kind == "binary" and values[name] is not None else values[name]
                for name, kind in of.items()
            },
            "salt": second.b64(bytes.fromhex(clear["salt"])),
            "leaf_hash": second.b64(leaves[3]), "public_key": key_text("log", 1, public("log")), "enrolment": ENROLMENT,
            "proof": f"c2sp.org/tlog-proof@v1\nindex 3\n{path}\n{checkpoints[1]}",
        },
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(vectors(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
