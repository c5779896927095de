"""What verify prints, writes and files: text, JSON, HTML, the state file; and what part of a store it looks at."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sidecar.audit import text
from sidecar.audit.batch import check
from sidecar.audit.findings import MEANING, WARNINGS, Kind
from sidecar.audit.html import page
from sidecar.audit.inventory import Selection
from sidecar.audit.naming import parse as parse_name
from sidecar.audit.report import StoreReport
from sidecar.audit.resume import Progress
from sidecar.audit.trust import Trust
from sidecar.audit.verify import Job, verify
from sidecar.errors import StoreError
from sidecar.objects import AUDITOR, Entry, open_store
from tests.support import audited
from tests.support.audited import (
    ENROLMENT_KEY,
    NOW_US,
    OPERATOR,
    Store,
    append,
    failures,
    log_of,
    the_failure,
)
from tests.support.running import ROOT, SIDECAR
from tests.support.sealed_store import DAY_US, START_US, LogMaker, Tampered, tamper


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return audited.make(tmp_path / "store")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return subprocess.run(
        [*SIDECAR, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )


def spoil(store: Store) -> str:
    return tamper(store.root, store.log.names[1], lambda opened: opened.row(22).update(status=200))


def test_every_kind_has_a_meaning() -> None:
    assert set(MEANING) == set(Kind)
    assert set(Kind) > WARNINGS


def test_one_line_for_each_log_and_a_verdict(store: Store) -> None:
    done = command("verify", "--store", str(store.root), "--trust", str(ENROLMENT_KEY.verifier))
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert done.stderr == ""
    ours = next(line for line in lines if store.log.origin in line)
    assert re.match(r"intact +\S+  66 records to 2026-11-24T00:00:14.750Z · gap$", ours)
    assert lines[-1] == "intact: every record is as it was sealed under a trusted key"


def test_exit_code_1_and_the_deed_below_its_log(store: Store) -> None:
    name = spoil(store)
    done = command("verify", "--store", str(store.root), "--trust", str(ENROLMENT_KEY.verifier))
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if store.log.origin in line)
    assert done.returncode == 1
    assert lines[at].startswith("altered ")
    assert lines[at + 1].endswith(".default.22: status is 200 and was sealed as 500")
    assert lines[at + 2].strip() == f"object {name}"
    assert lines[-1] == "NOT INTACT: 1 of 2 logs"


def test_without_a_trusted_key_the_verdict_says_so(store: Store) -> None:
    done = command("verify", "--store", str(store.root))
    assert done.returncode == 0
    assert "no trusted key was given (--trust)" in done.stdout.splitlines()[-1]


def test_keys_from_files_private_ones_and_text_are_the_same(store: Store, tmp_path: Path) -> None:
    private, public = tmp_path / "key", tmp_path / "key.pub"
    private.write_text(ENROLMENT_KEY.private_text() + "\n")
    public.write_text(str(ENROLMENT_KEY.verifier) + "\n")
    for key in (str(private), str(public), str(ENROLMENT_KEY.verifier)):
        done = command("verify", "--store", str(store.root), "--trust", key, "--json")
        assert {log["enrolled_by"] for log in json.loads(done.stdout)["logs"]} == {"enrolment"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify"], "give --store URL or --receipt FILE"),
        (["verify", "--store", "{store}", "--trust", "nonsense"], "key 'nonsense'"),
        (["verify", "--store", "{store}", "--since", "yesterday-ish"], "is no time"),
        (["verify", "--store", "{store}/no-such-place"], "no such directory"),
        (["verify", "--receipt", "{store}/no-such-file"], "cannot be read"),
        (["verify", "--store", "{store}", "--keys-store", "{store}/nowhere"], "--keys-store: store"),
        (["verify", "--store", "{store}", "--html", "{store}/no/such/folder.html"], "No such file"),
        (["prove", "no-such-record", "--store", "{store}"], "not of the form BOOT.ROUTE.NUMBER"),
        (["prove", "a.b.17", "--store", "{store}"], "not in the store"),
    ],
)
def test_a_mistake_is_one_line(store: Store, arguments: list[str], said: str) -> None:
    done = command(*(each.replace("{store}", str(store.root)) for each in arguments))
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_malformed_record_id_is_a_wrong_command_line(store: Store) -> None:
    assert command("prove", "no-such-record", "--store", str(store.root)).returncode == 2


@pytest.mark.parametrize("option", ["--store", "--html", "--resume", "--model"])
def test_a_receipt_is_checked_without_what_concerns_a_store(tmp_path: Path, option: str) -> None:
    done = command("verify", "--receipt", str(tmp_path / "receipt"), option, str(tmp_path / "other"))
    assert done.returncode == 2
    assert done.stderr.strip().endswith(f"leave {option} out")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "not JSON"), (b"{}", "not of the format"), (b"\xff", "is no text"), (None, "No such file")],
)
def test_a_receipt_that_is_none_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "receipt.json"
    if content is not None:
        path.write_bytes(content)
    done = command("verify", "--receipt", str(path))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"receipt {path}: " in done.stderr
    assert said in done.stderr


def test_json_has_what_the_text_has(store: Store) -> None:
    spoil(store)
    found = json.loads(command("verify", "--store", str(store.root), "--json").stdout)
    log = next(each for each in found["logs"] if each["origin"] == store.log.origin)
    deed = next(each for each in log["findings"] if each["failure"])
    assert (found["intact"], log["status"], log["intact_leaves"]) == (False, "altered", 23)
    assert (deed["kind"], deed["field"]) == ("altered", "status")
    assert deed["records"] == [f"{store.log.log}.22"]


class _Parsed(HTMLParser):
    """Tags of a page, which must all be closed in their order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.words = ""
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "wbr", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_is_one_file_without_scripts(store: Store, tmp_path: Path) -> None:
    spoil(store)
    path = tmp_path / "report.html"
    command("verify", "--store", str(store.root), "--html", str(path))
    found = _Parsed(path.read_text())
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert found.addresses == []
    assert "url(" not in path.read_text()
    assert "Status is 200" not in found.words
    assert "status is 200 and was sealed as 500" in found.words
    assert store.log.origin in found.words


def test_names_from_the_store_are_escaped_in_the_page(store: Store) -> None:
    name = tamper(store.root, store.log.names[1], lambda opened: opened.metadata.update(model="<b>&x"))
    assert "%3Cb%3E" in name
    found = store.report()
    content = page(found)
    assert "<b>&x" not in content
    assert not found.intact
    _Parsed(content)


def test_a_terminal_is_never_given_control_characters(store: Store) -> None:
    def change(opened: Tampered) -> None:
        opened.row(22)["path"] = "/predict\x1b[2J\n"

    tamper(store.root, store.log.names[1], change)
    done = command("verify", "--store", str(store.root))
    assert "\x1b" not in done.stdout
    assert done.returncode == 1


def test_a_state_file_saves_the_reading_of_what_was_done(store: Store, tmp_path: Path) -> None:
    job = Job(
        str(store.root),
        AUDITOR,
        Trust((ENROLMENT_KEY.verifier,), operators=(OPERATOR.verifier,)),
        Selection(),
        1,
        NOW_US,
    )
    path = tmp_path / "state"

    def run() -> StoreReport:
        state = Progress(path)
        try:
            return verify(open_store(str(store.root)), job, state, lambda done, total: None)
        finally:
            state.close()

    def flip(name: str) -> None:
        data = bytearray(store.path(name).read_bytes())
        data[100] ^= 1
        store.path(name).write_bytes(data)

    first = run()
    lines = path.read_bytes().splitlines(keepends=True)
    done, last = (str(json.loads(line)["name"]) for line in (lines[0], lines[-1]))
    # The last line as an interruption may leave it.
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:100])
    assert run().to_json()["logs"] == first.to_json()["logs"]
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:100])
    flip(done)
    assert run().intact, "what is in the file is not read again"
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:100])
    flip(last)
    assert not run().intact, "what is not in it is"


def test_a_state_file_does_not_hide_what_changed_since(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert command("verify", "--store", str(store.root), "--resume", str(path)).returncode == 0
    spoil(store)
    assert command("verify", "--store", str(store.root), "--resume", str(path)).returncode == 1


def test_a_state_file_that_cannot_be_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="give a path that can be written"):
        Progress(tmp_path / "no" / "such")


def test_several_processes_find_what_one_finds(store: Store) -> None:
    spoil(store)
    alone = json.loads(command("verify", "--store", str(store.root), "--jobs", "1", "--json").stdout)
    job = Job(str(store.root), AUDITOR, Trust(), Selection(), 2, NOW_US)
    together = verify(open_store(str(store.root)), job, None, lambda done, total: None).to_json()
    assert together["logs"] == alone["logs"]


def test_only_logs_of_a_model_or_a_time(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for number, model in enumerate(("mortgage", "rates/v2")):
        log = LogMaker(
            root,
            audited.BOOT_KEY,
            boot=f"2026112{number}T000000-00112233aa",
            model=model,
            t_us=START_US + number * DAY_US,
        )
        log.exchanges(5)
        log.close()
    one = audited.report(root, trust=[], selection=Selection(model="rates%2Fv2"))
    assert [log.models for log in one.logs] == [("rates/v2",)]
    later = audited.report(root, trust=[], selection=Selection(since="2026-11-25"))
    assert [log.models for log in later.logs] == [("rates/v2",)]
    assert audited.report(root, trust=[], selection=Selection(until="2026-11-23")).logs == []
    assert "only the stored leaf hashes" in later.scope


def test_other_batches_of_a_chosen_log_are_joined_by_their_stored_hashes(tmp_path: Path) -> None:
    log = LogMaker(tmp_path, audited.BOOT_KEY)
    log.exchanges(5)
    name = log.cut()
    log.t_us += DAY_US
    log.add("batch", details={"name": name, "sha256": log.last_sha256})
    log.exchanges(5)
    log.close()
    chosen = Selection(since="2026-11-25")
    assert audited.report(tmp_path, trust=[], selection=chosen).intact
    tamper(tmp_path, log.names[0], lambda opened: opened.row(2).update(status=200, client="x"))
    kinds = {each.kind for each in failures(audited.report(tmp_path, trust=[], selection=chosen))}
    assert kinds == {Kind.ALTERED}, "the next batch's hash of the file still tells"


def test_an_empty_store_has_nothing_to_verify(tmp_path: Path) -> None:
    found = audited.report(tmp_path)
    assert found.intact
    assert text.verdict(found) == "nothing sealed was found to verify"
    _Parsed(page(found))


def retained_rows(store: Store, number: int) -> int:
    """Rows of a batch of the first log, as its name has them."""
    first, last = re.findall(r"-L([0-9]+)-([0-9]+)-", store.log.names[number])[0]
    return int(last) - int(first) + 1


def retention(log: LogMaker, first: int, last: int) -> dict[str, Any]:
    """What `retain` says of removed batches of a log."""
    from sidecar.audit.ranges import Range, subtrees
    from sidecar.ledger import base64text

    opened = [Tampered(log.store, name) for name in log.names[first : last + 1]]
    leaves = [row["leaf_hash"] for each in opened for row in each.rows]
    start = opened[0].metadata["first_leaf"]
    before = [row["leaf_hash"] for name in log.names[:first] for row in Tampered(log.store, name).rows]
    tree = Range()
    tree.push(subtrees(0, [*before, *leaves]))
    gone = {
        "origin": log.origin,
        "first_leaf": start,
        "last_leaf": start + len(leaves) - 1,
        "rows": len(leaves),
        "exchanges": len(leaves),
        "first_seq": 1,
        "last_seq": 2,
        "t_min_us": START_US,
        "t_max_us": START_US,
        "size": tree.size,
        "root": base64text.encode(tree.root()),
        "checkpoint": opened[-1].metadata["checkpoint"],
        "public_key": opened[-1].metadata["public_key"],
        "enrolment": None,
        "subtrees": [[level, base64text.encode(node)] for level, node in subtrees(start, leaves)],
        "frontier": [base64text.encode(node) for _, node in tree.nodes],
        "objects": [],
    }
    return {
        "model": log.model,
        "older_than_us": 1,
        "cutoff_us": START_US,
        "shorter_than_six_months": False,
        "ranges": [gone],
    }


@pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 1), (0, 1), (2, 2), (0, 2)])
def test_batches_removed_when_their_retention_ended(store: Store, first: int, last: int) -> None:
    append(store.root, "retention", retention(store.log, first, last))
    for name in store.log.names[first : last + 1]:
        store.path(name).unlink()
    found = store.report()
    assert found.intact, failures(found)
    if (first, last) == (0, 2):
        assert [log.origin for log in found.logs] == [store.other.origin]
        return
    log = log_of(found, store.log)
    assert "retention" in log.notes
    assert "unclosed" not in log.notes
    assert log.unproven == 0
    size = store.log.frontier.size
    assert log.intact_leaves == (size if last < 2 else size - retained_rows(store, 2))


def test_a_removal_that_was_interrupted_is_said(store: Store) -> None:
    append(store.root, "retention", retention(store.log, 0, 1))
    store.path(store.log.names[0]).unlink()
    found = store.report()
    assert found.intact, failures(found)
    assert {"retention", "note"} <= set(log_of(found, store.log).notes)


def test_a_removal_that_ends_before_it_begins_is_passed_over(store: Store) -> None:
    body = retention(store.log, 1, 1)
    body["ranges"][0]["last_leaf"] = 3
    append(store.root, "retention", body)
    store.path(store.log.names[1]).unlink()
    assert the_failure(store.report()).kind is Kind.REMOVED


def test_a_removal_ordered_by_a_stranger_is_none(store: Store) -> None:
    append(store.root, "retention", retention(store.log, 1, 1), key=audited.STRANGER)
    store.path(store.log.names[1]).unlink()
    assert the_failure(store.report()).kind is Kind.REMOVED


def test_a_removal_with_another_tree_does_not_hold(store: Store) -> None:
    body = retention(store.log, 1, 1)
    subtrees = body["ranges"][0]["subtrees"]
    subtrees[0][1] = subtrees[-1][1]
    append(store.root, "retention", body)
    store.path(store.log.names[1]).unlink()
    found = the_failure(store.report())
    assert found.kind is Kind.REMOVED
    assert "does not hold" in found.text


def test_rich_is_loaded_for_a_terminal_only(store: Store) -> None:
    code = (
        "import sys; from sidecar.cli import main\n"
        "try: main(['verify', '--store', sys.argv[1]])\n"
        "except SystemExit: pass\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.root)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines()[-1] == "False"
    shutil.rmtree(store.root)


class Late:
    """A store that changes while it is verified: `then` is called once its batches were listed."""

    def __init__(self, store: Store, hidden: Iterable[str], then: Callable[[], None]) -> None:
        self._store = open_store(str(store.root))
        self._hidden = frozenset(hidden)
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        for entry in self._store.list(prefix, after):
            if entry.name not in self._hidden:
                yield entry
        if prefix.startswith("records"):
            self._then()


def verified(store: Late, root: Path) -> StoreReport:
    job = Job(
        str(root),
        AUDITOR,
        Trust((ENROLMENT_KEY.verifier,), operators=(OPERATOR.verifier,)),
        Selection(),
        1,
        NOW_US,
    )
    return verify(store, job, None, lambda done, total: None)


def test_a_batch_put_while_others_were_listed_is_not_removed(store: Store) -> None:
    late = Late(store, store.log.names[:2], lambda: None)
    found = verified(late, store.root)
    assert found.intact, failures(found)
    assert log_of(found, store.log).intact_leaves == store.log.frontier.size


def test_what_a_witness_sees_after_the_listing_is_not_truncated(store: Store) -> None:
    late = Late(store, [store.log.names[2]], lambda: store.witness(store.log))
    found = verified(late, store.root)
    assert found.intact, failures(found)
    assert "unclosed" in log_of(found, store.log).notes


def test_batches_removed_on_record_after_the_listing(store: Store) -> None:
    removal = retention(store.log, 0, 0)

    def remove() -> None:
        append(store.root, "retention", removal)
        store.path(store.log.names[0]).unlink()

    found = verified(Late(store, [store.log.names[0]], remove), store.root)
    assert found.intact, failures(found)


def test_what_is_kept_of_a_batch_does_not_grow_with_its_keys(tmp_path: Path) -> None:
    sizes = []
    for number, keys in enumerate((1, 400)):
        log = LogMaker(tmp_path / str(number), audited.BOOT_KEY, enrolment_key=ENROLMENT_KEY)
        log.exchange(keys={f"key.{at}": f"value {at}" for at in range(keys)})
        log.close()
        (path,) = (tmp_path / str(number)).rglob("*.parquet")
        named = parse_name(str(path.relative_to(tmp_path / str(number))))
        assert named is not None
        sizes.append(len(pickle.dumps(check(named, path.read_bytes()))))
    assert abs(sizes[1] - sizes[0]) < 64


def test_copies_are_said_to_be_no_evidence(store: Store) -> None:
    assert not any("compacted/" in each.text for each in store.report().findings)
    copy = store.root / "compacted" / "model=mortgage" / "digest=x" / "date=2026-11-24" / "copy.parquet"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"whatever")
    found = store.report()
    assert found.intact
    assert [each.text for each in found.findings if "compacted/ was not looked at" in each.text]


def test_a_site_log_cut_back_since_an_earlier_report_is_noticed(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        store.append("hold", {"number": number})
    verify = ("verify", "--store", str(store.root), "--json", "--jobs", "1")
    head = json.loads(command(*verify).stdout)["site_head"]
    assert head.startswith("3:")
    store.append("hold", {"number": 3})
    assert command(*verify, "--site-head", head).returncode == 0

    for number in (2, 3):
        (store.root / "site" / f"{number:012d}.json").unlink()
    assert command(*verify).returncode == 0, "the store alone cannot tell"
    cut = json.loads(command(*verify, "--site-head", head).stdout)
    assert [each["kind"] for each in cut["findings"] if each["failure"]] == ["truncated"]

    store.append("hold", {"number": "another"})
    anew = json.loads(command(*verify, "--site-head", head).stdout)
    assert [each["kind"] for each in anew["findings"] if each["failure"]] == ["forked"]
    for wrong in ("3", "3:xyz", "0:" + "0" * 64, "-1:" + "0" * 64):
        refused = command(*verify, "--site-head", wrong)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_what_was_found_is_shown_also_when_the_page_cannot_be_written(store: Store, tmp_path: Path) -> None:
    ran = command("verify", "--store", str(store.root), "--json", "--html", str(tmp_path / "none" / "x.html"))
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["intact"]
    assert "give a path that can be written" in ran.stderr
