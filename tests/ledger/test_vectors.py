"""What sidecar/ledger makes is what the documents' test vectors say, and the document's tables are the code's."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from sidecar.errors import Erased
from sidecar.ledger import enrolment, receipt, tree
from sidecar.ledger.checkpoint import Checkpoint
from sidecar.ledger.cosignature import CosignerKey, cosign
from sidecar.ledger.leaf import LeafEncoder, Row, canonical, leaf_hash
from sidecar.ledger.note import Note, SigningKey, VerifierKey
from sidecar.ledger.origin import LIMITS, Place, origin, parse
from sidecar.ledger.proof import consistency_path, inclusion_path
from sidecar.privacy.key_object import KeyObject
from sidecar.privacy.master import LocalMasterKey
from sidecar.privacy.opening import open_record
from sidecar.schema import BLOB_COLUMNS, LOG_COLUMNS, ROW_COLUMNS
from sidecar.site.entry import parse as parse_entry
from tests.ledger import independent, make_vectors

PATH = Path(__file__).parent / "vectors.json"
VECTORS: dict[str, Any] = json.loads(PATH.read_text())
LEAVES = [bytes.fromhex(each["leaf_hash"]) for each in VECTORS["rows"]]
NAMES = [each["name"] for each in VECTORS["rows"]]
KEYS = {name: SigningKey.parse(text) for name, text in VECTORS["private_keys"].items()}


def values(columns: dict[str, str], vector: dict[str, Any]) -> Row:
    return tuple(
        bytes.fromhex(vector[name]) if kind == "binary" and vector.get(name) is not None else vector.get(name)
        for name, kind in columns.items()
    )


@pytest.mark.parametrize("vector", VECTORS["rows"], ids=NAMES)
def test_rows(vector: dict[str, Any]) -> None:
    log, row = values(LOG_COLUMNS, vector["log"]), values(ROW_COLUMNS, vector["row"])
    salt = bytes.fromhex(vector["salt"]) if vector["salt"] else None
    encoded = canonical(log, row, salt)
    assert encoded.hex() == vector["canonical"]
    assert leaf_hash(encoded) == LeafEncoder(log).leaf(row, salt) == bytes.fromhex(vector["leaf_hash"])


def test_msgpack_has_the_forms_of_the_document() -> None:
    for vector in VECTORS["msgpack"]:
        value = bytes.fromhex(vector["value"]) if vector.get("type") == "binary" else vector["value"]
        encoded = msgpack.packb(value * vector["repeat"] if "repeat" in vector else value)
        assert encoded.hex().startswith(vector["encoded"])
        assert len(encoded) == vector["length"]


def test_tree_and_proofs() -> None:
    for checkpoint in VECTORS["checkpoints"]:
        found = Checkpoint.open(checkpoint, [VerifierKey.parse(VECTORS["public_key"])])
        assert found.root == tree.root_of(LEAVES[: found.size])
        assert found.signed(KEYS["log"]).format() == checkpoint
    for index, path in enumerate(VECTORS["inclusion"]):
        assert [each.hex() for each in inclusion_path(LEAVES, index)] == path
    assert [each.hex() for each in consistency_path(LEAVES, 5, 9)] == VECTORS["consistency"]["path"]


def test_keys_notes_and_cosignatures() -> None:
    assert {name: str(key.verifier) for name, key in KEYS.items()} == VECTORS["public_keys"]
    key = VerifierKey.parse(VECTORS["public_key"])
    found = parse(key.name)
    assert (
        enrolment.certify(KEYS["enrolment"], found.prefix, found.boot, key.public_key) == VECTORS["enrolment"]
    )
    signer = enrolment.check(VECTORS["enrolment"], [KEYS["enrolment"].verifier], key.name, key.public_key)
    assert signer == KEYS["enrolment"].verifier
    last = Note.parse(VECTORS["checkpoints"][-1])
    assert cosign(KEYS["witness"], last, VECTORS["cosigned_at_s"]).format() == VECTORS["cosigned"]
    assert CosignerKey.parse(VECTORS["cosigner"]).cosigned_at(Note.parse(VECTORS["cosigned"]))


@pytest.mark.parametrize("vector", VECTORS["origins"], ids=lambda vector: vector["origin"])
def test_origins(vector: dict[str, Any]) -> None:
    cluster, namespace, workload, pod_uid, route, boot, *dead = vector["parts"]
    assert origin(Place(cluster, namespace, workload, pod_uid), route, boot, *dead) == vector["origin"]


def test_the_receipt() -> None:
    found = receipt.parse(json.dumps(VECTORS["receipt"]))
    verdict = receipt.verify(found, [KEYS["enrolment"].verifier])
    assert verdict.ok
    assert verdict.enrolled
    assert json.loads(receipt.write(found)) == VECTORS["receipt"]
    assert base64.b64encode(found.leaf_hash).decode() == VECTORS["receipt"]["leaf_hash"]


def test_the_documents_tables_are_the_schema() -> None:
    assert list(independent.columns("log-columns").items()) == list(LOG_COLUMNS.items())
    assert list(independent.columns("row-columns").items()) == list(ROW_COLUMNS.items())
    table = independent.DOCUMENT.split("<!-- row-columns -->")[1].split("<!-- /row-columns -->")[0]
    blobs = [line.split("`")[1] for line in table.splitlines() if "**blob**" in line]
    assert tuple(blobs) == BLOB_COLUMNS == independent.BLOBS


def test_the_documents_origin_limits_are_the_codes() -> None:
    parts = independent.limits()
    assert parts == list(LIMITS.values())


def test_the_stored_vectors_are_those_that_are_made() -> None:
    made = json.dumps(make_vectors.vectors(), indent=1, ensure_ascii=False) + "\n"
    assert made == PATH.read_text(), "run `python -m tests.ledger.make_vectors > tests/ledger/vectors.json`"


def test_the_encrypted_row_opens() -> None:
    vector = VECTORS["encryption"]
    row = next(each["row"] for each in VECTORS["rows"] if each["name"] == "exchange, encrypted")
    stored = {
        name: bytes.fromhex(value) if ROW_COLUMNS[name] == "binary" else value for name, value in row.items()
    }
    master = LocalMasterKey(bytes.fromhex(vector["master_key"]))
    held = KeyObject.parse(json.dumps(vector["key_object"]).encode())
    assert held.ids(master.tag(vector["subject"])) == {stored["subject_key_id"]}
    opened = open_record(stored, held, master)
    decoded = json.loads(vector["plain"]["decoded_ciphertext"])
    assert opened.request_body == vector["plain"]["request_body"].encode()
    assert opened.response_body == vector["plain"]["response_body"].encode()
    assert json.loads(str(opened.inputs)) == decoded["inputs"]
    assert json.loads(str(opened.outputs)) == decoded["outputs"]
    assert opened.decision == decoded["decision"]
    erased = held.without(frozenset([stored["subject_key_id"]]))
    with pytest.raises(Erased):
        open_record(stored, erased, master)


def test_the_site_log() -> None:
    frontier = tree.Frontier()
    for data in VECTORS["site"]:
        entry = parse_entry(data.encode())
        assert entry.encode() == data.encode()
        frontier.append(entry.leaf())
        assert base64.b64decode(entry.root) == frontier.root()
        note = Note.parse(entry.note)
        VerifierKey.parse(entry.key).verify(note)
        assert note.text == entry.checkpoint
