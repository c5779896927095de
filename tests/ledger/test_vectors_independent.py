"""The documents' test vectors, checked by the second implementation, which shares nothing with `sidecar`."""

from __future__ import annotations

import ast
import base64
import hashlib
import hmac
import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.ledger.independent import (
    DOCUMENT,
    b64,
    canonical,
    climb,
    columns,
    key_id,
    leaf,
    mac,
    msgpack,
    node,
    origin,
    public_key,
    root,
    signature,
    sorted_json,
    verified,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
LEAVES = [bytes.fromhex(each["leaf_hash"]) for each in VECTORS["rows"]]
NAMES = [each["name"] for each in VECTORS["rows"]]


@pytest.mark.parametrize("vector", VECTORS["msgpack"], ids=lambda vector: vector["encoded"][:12])
def test_msgpack_forms(vector: dict[str, Any]) -> None:
    value = vector["value"]
    if "repeat" in vector:
        value = value * vector["repeat"]
    encoded = msgpack(bytes.fromhex(value) if vector.get("type") == "binary" else value)
    assert encoded.hex().startswith(vector["encoded"])
    assert len(encoded) == vector["length"]


@pytest.mark.parametrize("vector", VECTORS["rows"], ids=NAMES)
def test_rows_have_the_canonical_bytes_and_leaves_that_are_given(vector: dict[str, Any]) -> None:
    salt = bytes.fromhex(vector["salt"]) if vector["salt"] else None
    encoded = canonical(vector["log"], vector["row"], salt)
    assert encoded.hex() == vector["canonical"]
    assert leaf(encoded).hex() == vector["leaf_hash"]


@pytest.mark.parametrize("vector", VECTORS["rows"], ids=NAMES)
def test_the_document_shows_every_vector(vector: dict[str, Any]) -> None:
    section = DOCUMENT.split("## Test vectors")[1].split("\n## ")[0]
    shown = re.search(
        rf"^\| {vector['name']} \| ([0-9a-f]+)…([0-9a-f]+), (\d+) bytes \| ([0-9a-f]+) \|$",
        section,
        re.MULTILINE,
    )
    assert shown, f"no line for {vector['name']}"
    begin, end, count, digest = shown.groups()
    assert vector["canonical"].startswith(begin)
    assert vector["canonical"].endswith(end)
    assert len(vector["canonical"]) == 2 * int(count)
    assert digest == vector["leaf_hash"]


def test_rows_of_every_kind_that_seals_something_are_there() -> None:
    kinds = {each["row"]["kind"] for each in VECTORS["rows"]}
    assert kinds == {"genesis", "config", "identity", "exchange", "gap", "batch", "heartbeat", "close"}


def test_the_published_tree_of_rfc_6962() -> None:
    leaves = [leaf(bytes.fromhex(each)) for each in VECTORS["rfc6962"]["leaves"]]
    assert [root(leaves[: count + 1]).hex() for count in range(8)] == VECTORS["rfc6962"]["roots"]
    assert VECTORS["rfc6962"]["roots"][7] in DOCUMENT


def test_checkpoints_are_signed_and_have_the_roots_of_their_rows() -> None:
    for checkpoint in VECTORS["checkpoints"]:
        origin, size, encoded, end = verified(checkpoint, VECTORS["public_key"]).split("\n")
        assert origin == public_key(VECTORS["public_key"])[0]
        assert base64.b64decode(encoded, validate=True) == root(LEAVES[: int(size)])
        assert end == ""
    assert VECTORS["checkpoints"][-1] in DOCUMENT


def test_the_tree_proves_each_of_its_leaves() -> None:
    size = len(LEAVES)
    for index, path in enumerate(VECTORS["inclusion"]):
        assert climb(LEAVES[index], index, size, [bytes.fromhex(each) for each in path]) == root(LEAVES)


def test_the_second_checkpoint_continues_the_first() -> None:
    old, new = VECTORS["consistency"]["old"], VECTORS["consistency"]["new"]
    first, *rest = [bytes.fromhex(each) for each in VECTORS["consistency"]["path"]]
    # 5 leaves of 9: the fifth leaf, its sibling 5, then 6 and 7, the four before, and the ninth behind.
    assert (old, new) == (5, 9)
    sibling, pair, four, ninth = rest
    assert node(four, first) == root(LEAVES[:5])
    assert node(node(four, node(node(first, sibling), pair)), ninth) == root(LEAVES)


def test_the_private_keys_give_the_public_ones() -> None:
    for name, text in VECTORS["private_keys"].items():
        prefix, label, held, identifier, encoded = text.split("+", 4)
        assert (prefix, label) == ("PRIVATE", "KEY")
        data = base64.b64decode(encoded, validate=True)
        assert data[0] == 1
        public = Ed25519PrivateKey.from_private_bytes(data[1:]).public_key().public_bytes_raw()
        assert identifier == key_id(held, 1, public).hex()
        assert VECTORS["public_keys"][name] == f"{held}+{identifier}+{b64(bytes([1]) + public)}"


def test_the_enrolment_certifies_the_logs_key() -> None:
    header, prefix, boot, encoded, end = verified(
        VECTORS["enrolment"], VECTORS["public_keys"]["enrolment"]
    ).split("\n")
    assert (header, end) == ("sidecar-enrolment/1", "")
    origin, public = public_key(VECTORS["public_key"])
    cluster, namespace, workload, pod, _route, live = origin.split(".")
    assert prefix == f"{cluster}.{namespace}.{workload}.{pod}"
    assert boot == live
    assert base64.b64decode(encoded, validate=True) == public
    assert VECTORS["enrolment"] in DOCUMENT


def test_the_witness_cosigned_the_last_checkpoint() -> None:
    note = VECTORS["cosigned"]
    name, public = public_key(VECTORS["cosigner"], 4)
    text, found = signature(note, name, 4, public)
    (time_s,) = struct.unpack(">Q", found[:8])
    message = f"cosignature/v1\ntime {time_s}\n".encode() + text
    Ed25519PublicKey.from_public_bytes(public).verify(found[8:], message)
    assert time_s == VECTORS["cosigned_at_s"]
    assert note.startswith(VECTORS["checkpoints"][-1])


@pytest.mark.parametrize("vector", VECTORS["origins"], ids=lambda vector: vector["origin"])
def test_origins_are_escaped_and_shortened(vector: dict[str, Any]) -> None:
    assert origin(vector["parts"]) == vector["origin"]


def test_the_encrypted_row_opens_with_its_keys_alone() -> None:
    vector = VECTORS["encryption"]
    row = next(each["row"] for each in VECTORS["rows"] if each["name"] == "exchange, encrypted")
    record_id = row["record_id"].encode()
    subject_key_id = bytes.fromhex(row["subject_key_id"])
    wrapped = base64.b64decode(vector["key_object"]["subjects"][0]["wrapped"])
    subject_key = AESGCM(bytes.fromhex(vector["master_key"])).decrypt(
        wrapped[:12], wrapped[12:], subject_key_id
    )
    assert vector["key_object"]["subjects"][0]["id"] == row["subject_key_id"]
    wrapped = bytes.fromhex(row["wrapped_key"])
    record_key = AESGCM(subject_key).decrypt(wrapped[:12], wrapped[12:], record_id)
    assert hashlib.sha256(b"sidecar record key\x00" + record_key).hexdigest() == row["key_commitment"]
    for number, (column, plain) in enumerate(vector["plain"].items(), 1):
        nonce, aad = bytes(11) + bytes([number]), record_id + b"\x00" + column.encode()
        assert AESGCM(record_key).decrypt(nonce, bytes.fromhex(row[column]), aad).decode() == plain
        with pytest.raises(InvalidTag):
            AESGCM(record_key).decrypt(nonce, bytes.fromhex(row[column]), record_id + b"\x00other")
    assert row["keys"]["applicant"] == mac(
        bytes.fromhex(vector["hmac_key"]), vector["business_keys"]["applicant"]
    )


def test_the_subject_is_found_by_its_tag() -> None:
    vector = VECTORS["encryption"]
    # HKDF-SHA256 (RFC 5869) without a salt; one block is enough for 32 bytes.
    extracted = hmac.new(bytes(32), bytes.fromhex(vector["master_key"]), hashlib.sha256).digest()
    index_key = hmac.new(extracted, b"sidecar subject index\x01", hashlib.sha256).digest()
    assert vector["key_object"]["subjects"][0]["tag"] == mac(index_key, vector["subject"])
    named = hashlib.sha256(b"sidecar master key\x00" + bytes.fromhex(vector["master_key"])).hexdigest()[:8]
    assert vector["key_object"]["master"] == named
    assert (
        vector["key_object"]["batch"] == f"{public_key(VECTORS['public_key'])[0]}-L000000000005-000000000008"
    )


def test_the_site_log_holds_together() -> None:
    leaves: list[bytes] = []
    previous = None
    for index, data in enumerate(VECTORS["site"]):
        entry = json.loads(data)
        fields = ["format", "index", "previous", "t_us", "kind", "body", "root", "key", "note"]
        assert list(entry) == fields
        assert data == json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n"
        assert (entry["format"], entry["index"], entry["previous"]) == (1, index, previous)
        assert sorted_json(entry["body"]) in data
        leaves.append(leaf(msgpack([1, index, entry["t_us"], entry["kind"], sorted_json(entry["body"])])))
        assert entry["root"] == b64(root(leaves))
        assert verified(entry["note"], entry["key"]) == f"site\n{index + 1}\n{entry['root']}\n"
        previous = hashlib.sha256(data.encode()).hexdigest()
    assert len(leaves) == 2


def test_the_receipt_can_be_checked_by_hand() -> None:
    receipt = VECTORS["receipt"]
    assert (receipt["format"], receipt["canonical"]) == ("sidecar-receipt/1", 1)
    kinds = {**columns("log-columns"), **columns("row-columns")}
    assert list(receipt["record"]) == list(kinds)
    values = {
        name: base64.b64decode(value).hex() if kinds[name] == "binary" and value is not None else value
        for name, value in receipt["record"].items()
    }
    found = leaf(canonical(values, values, base64.b64decode(receipt["salt"])))
    assert b64(found) == receipt["leaf_hash"]
    head, checkpoint = receipt["proof"].split("\n\n", 1)
    version, index, *path = head.split("\n")
    assert version == "c2sp.org/tlog-proof@v1"
    _origin, size, top, _ = verified(checkpoint, receipt["public_key"]).split("\n")
    climbed = climb(
        found, int(index.removeprefix("index ")), int(size), [base64.b64decode(each) for each in path]
    )
    assert b64(climbed) == top
    assert receipt["enrolment"] == VECTORS["enrolment"]


@pytest.mark.parametrize(
    "name", ["independent.py", "make_vectors.py", "rfc6962.py", "test_vectors_independent.py"]
)
def test_the_second_implementation_shares_nothing_with_the_first(name: str) -> None:
    for found in ast.walk(ast.parse((Path(__file__).parent / name).read_text())):
        modules = [alias.name for alias in found.names] if isinstance(found, ast.Import) else []
        modules += [str(found.module)] if isinstance(found, ast.ImportFrom) else []
        assert not [each for each in modules if each.partition(".")[0] == "sidecar"]
