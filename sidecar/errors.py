"""Every error Sidecar raises on purpose.

    SidecarError                 exit 1
    ├── UsageError               exit 2: the command line is wrong
    │   └── ConfigError          exit 2: a setting is wrong, wherever it came from
    ├── JournalError             the journal folder or one of its files
    │   ├── JournalLocked        another supervisor or drain holds it
    │   ├── JournalVersion       exit 2: written by a newer Sidecar
    │   ├── JournalFull          a named overload: max_bytes, disk full, I/O error
    │   └── VolumeCorrupt        one volume cannot be trusted; it is moved aside
    ├── StoreError               the record store refused or could not be reached
    │   ├── RecordNotFound       no such record in this store
    │   ├── ObjectExists         another writer put an object of that name first
    │   ├── ObjectMissing        no object of that name
    │   └── ObjectUnreadable     an object is there and is not what it should be
    ├── LedgerError              a note, key, proof or receipt that is not what it should be
    │   └── SiteLogBroken        an entry of the site log is not what was appended
    ├── PrivacyError             a key is missing or does not open what it should
    │   ├── Erased               the key that opened it was destroyed on purpose
    │   ├── WrongKey             it was sealed under another master key
    │   └── Damaged              ciphertext or key bytes are not what was sealed
    ├── ClusterError             the Kubernetes API refused or could not be reached
    └── DecodeError              an exchange no decoder could read; counted, never fatal

A message says what happened, to what, and what the reader can do.
"""

from __future__ import annotations


class SidecarError(Exception):
    """Root of the tree; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(SidecarError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting has a wrong value; the message names the key, the value and the remedy."""


class JournalError(SidecarError):
    """The journal cannot be used as asked."""


class JournalLocked(JournalError):
    """Another process holds the journal's lock."""


class JournalVersion(JournalError):
    """The journal was written by a newer format than this build reads."""

    exit_code = 2


class JournalFull(JournalError):
    """The journal cannot take more; callers shed and count, or answer 503 by policy."""


class VolumeCorrupt(JournalError):
    """A volume failed its checks and was, or must be, moved aside."""


class StoreError(SidecarError):
    """The record store refused an operation or could not be reached."""


class RecordNotFound(StoreError):
    """The store holds no record of that id."""


class ObjectExists(StoreError):
    """An object of that name is there already: whoever numbers objects reads again and takes the next."""


class ObjectMissing(StoreError):
    """The store holds no object of that name."""


class ObjectUnreadable(StoreError):
    """The object is there and is not what it should be: asking the store again does not help."""


class LedgerError(SidecarError):
    """A note, key, proof or receipt cannot be read or does not verify."""


class SiteLogBroken(LedgerError):
    """The site log cannot be trusted from entry `index` on, the first one that is not what was appended."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class PrivacyError(SidecarError):
    """Data cannot be protected or opened with the keys at hand."""


class Erased(PrivacyError):
    """The subject's key is gone: nobody can open the record any more."""


class WrongKey(PrivacyError):
    """The master key at hand is not the one that sealed this."""


class Damaged(PrivacyError):
    """A ciphertext or a wrapped key was changed, moved to another place, or cut."""


class ClusterError(SidecarError):
    """The Kubernetes API refused a request, with its HTTP `status`, or gave no answer, then 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class DecodeError(SidecarError):
    """The exchange's bodies are not what the decoder understands."""
