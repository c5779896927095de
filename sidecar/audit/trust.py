"""Whose keys the auditor trusts, and what that makes of a log's key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.audit.findings import Finding, Kind
from sidecar.audit.log import Link, Walk
from sidecar.errors import LedgerError, UsageError
from sidecar.ledger import enrolment
from sidecar.ledger.cosignature import CosignerKey, parse_verifier
from sidecar.ledger.note import Note, SigningKey, VerifierKey


@dataclass(frozen=True, slots=True)
class Trust:
    """Keys given on the command line, each believed in its own role and in no other.

    An enrolment key lies in the secrets of every pod and a witness is somebody
    else: neither may say what was erased, removed or retired.
    """

    keys: tuple[VerifierKey, ...] = ()
    """Of enrolment: they certify the keys of boots."""
    witnesses: tuple[CosignerKey, ...] = ()
    """They cosign checkpoints and write witness entries."""
    operators: tuple[VerifierKey, ...] = ()
    """They write every other entry of the site log."""

    def believes(self, author: str) -> bool:
        """Whether what this author (a key's text) says in the site log counts.

        Everyone's does when neither an enrolment nor an operator key was given:
        the store is then held against itself alone.
        """
        if not self.keys and not self.operators:
            return True
        return _public(author) in {each.public_key for each in self.operators}

    def sees(self, author: str) -> bool:
        """Whether this author (a key's text) is a trusted witness."""
        return _public(author) in {each.public_key for each in self.witnesses}


def read_trust(trusted: Iterable[str], witnesses: Iterable[str], operators: Iterable[str] = ()) -> Trust:
    """Keys by their roles from what the command line says; a key's text may be of either type for each."""
    keys, authors = _verifiers(trusted), _verifiers(operators)
    cosigners: list[CosignerKey] = []
    for text in witnesses:
        cosigners += (CosignerKey(key.name, key.public_key) for key in read_keys(text))
    return Trust(keys, tuple(cosigners), authors)


def _verifiers(texts: Iterable[str]) -> tuple[VerifierKey, ...]:
    return tuple(VerifierKey(key.name, key.public_key) for text in texts for key in read_keys(text))


def _public(key: str) -> bytes | None:
    try:
        return VerifierKey.parse(key).public_key
    except LedgerError:
        return None


def read_keys(text: str) -> list[VerifierKey | CosignerKey]:
    """Public keys: the text of one, a file with a line for each, or the file of a private one.

    Raises UsageError for what is none of these.
    """
    try:
        path = Path(text)
        lines = path.read_text().splitlines() if path.is_file() else [text]
        found = [_read_key(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    except (OSError, ValueError, LedgerError) as error:
        raise UsageError(
            f"key {text[:120]!r}: {error}: give a file or the text that `sidecar keys show` prints"
        ) from error
    if not found:
        raise UsageError(f"key {text[:120]!r}: an empty file: give one with a key in it")
    return found


def _read_key(line: str) -> VerifierKey | CosignerKey:
    return SigningKey.parse(line).verifier if line.startswith("PRIVATE+KEY+") else parse_verifier(line)


@dataclass(slots=True)
class KeyVerdict:
    """Whose log it is."""

    key: VerifierKey | None = None
    enrolled_by: str | None = None
    """Name of the trusted key that certified the log's."""
    findings: list[Finding] = field(default_factory=list)


def judge_key(walk: Walk, trust: Trust, site_key: str | None = None) -> KeyVerdict:
    """The log's key and who vouches for it.

    `site_key` is the enrolment key that the site log names for the pod, if a
    trusted operator did.
    """
    verdict = KeyVerdict()
    signers = [link for link in walk.links if link.signed.signer is not None]
    if not signers:
        return verdict
    genesis = next(
        (leaf for link in walk.links for leaf in link.facts.sealing if leaf.kind == "genesis"), None
    )
    named = str(genesis.details.get("public_key")) if genesis is not None else None
    opened = _key(named) or signers[0].signed.signer
    assert opened is not None
    verdict.key = opened
    others = [
        link
        for link in signers
        if link.signed.signer is not None and link.signed.signer.public_key != opened.public_key
    ]
    certificate = genesis.details.get("enrolment") if genesis is not None else None
    if not isinstance(certificate, str):
        certificate = signers[0].facts.metadata.get("enrolment")
    verdict.findings += _enrolments(signers, genesis.details if genesis is not None else None)
    if others:
        which = (
            "all its batches" if len(others) == len(signers) else f"{len(others)} of {len(signers)} batches"
        )
        verdict.findings.append(
            Finding(
                Kind.RE_SIGNED,
                f"{which} are signed by the key {others[0].signed.signer}, the log was opened with {opened}",
                others[0].facts.named.name,
                others[0].first,
                others[-1].end - 1,
                field="checkpoint",
            )
        )
    elif isinstance(certificate, str):
        _certified(walk, verdict, certificate, trust, site_key)
    else:
        _uncertified(walk, verdict, trust, site_key)
    return verdict


def _enrolments(links: list[Link], genesis: dict[str, Any] | None) -> list[Finding]:
    """Every file repeats the enrolment that the log was opened with."""
    sealed = genesis if genesis is not None else links[0].facts.metadata
    return [
        Finding(
            Kind.ALTERED,
            "its metadata hold another enrolment than the log was opened with",
            link.facts.named.name,
            link.first,
            link.end - 1,
            field="enrolment",
        )
        for link in links
        if link.good and link.facts.metadata.get("enrolment") != sealed.get("enrolment")
    ]


def _certified(walk: Walk, verdict: KeyVerdict, certificate: str, trust: Trust, site_key: str | None) -> None:
    key = verdict.key
    assert key is not None
    try:
        note = Note.parse(certificate)
        stated = enrolment.Enrolment.parse(note.text)
        covered = stated.covers(walk.origin, key.public_key)
        same_boot = stated.covers(walk.origin, stated.public_key)
    except LedgerError as error:
        verdict.findings.append(Finding(Kind.UNKNOWN_KEY, f"its enrolment cannot be read: {error}"))
        return
    trusted = [*trust.keys, *filter(None, [_key(site_key)])]
    signer = None
    problem = "none of the trusted keys certified its key"
    try:
        signer = note.verified_by(trusted)[0] if trusted else None
    except LedgerError as error:
        problem = str(error)
    if not covered and same_boot and (signer is not None or not trusted):
        verdict.findings.append(
            Finding(
                Kind.RE_SIGNED,
                "its enrolment certifies another key for this boot than the one it is signed with",
                field="checkpoint",
            )
        )
    elif not covered:
        verdict.findings.append(
            Finding(Kind.UNKNOWN_KEY, "its enrolment is another pod's, boot's or key's, not this log's")
        )
    elif signer is not None:
        verdict.enrolled_by = signer.name
    elif trusted:
        verdict.findings.append(Finding(Kind.UNKNOWN_KEY, f"{problem}: {key}"))
    else:
        names = ", ".join(each.name for each in note.signatures)
        verdict.findings.append(
            Finding(Kind.SELF_SIGNED, f"enrolled in the name of {names}; give --trust to check that")
        )


def _uncertified(walk: Walk, verdict: KeyVerdict, trust: Trust, site_key: str | None) -> None:
    key = verdict.key
    assert key is not None
    if any(key.public_key == each.public_key for each in trust.keys):
        verdict.enrolled_by = key.name
    elif trust.keys or site_key is not None:
        verdict.findings.append(Finding(Kind.UNKNOWN_KEY, f"nobody trusted certified its key: {key}"))
    else:
        verdict.findings.append(
            Finding(Kind.SELF_SIGNED, "nobody certified its key; whoever could write here could have made it")
        )


def _key(text: str | None) -> VerifierKey | None:
    try:
        return VerifierKey.parse(text) if text else None
    except LedgerError:
        return None
