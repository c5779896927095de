"""`sidecar run`: from checked settings to a supervisor with two children.

Everything a user can get wrong is found before the first socket opens; then the
journal's lock, the counters, the sockets, the children. What the children
inherit is named in `config.Handover`. All three hold the lock and the children
the read end of a pipe whose write end only the supervisor has: its end of file
tells them that the supervisor is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import resource
import selectors
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sidecar.boot import boot_id, enrolment_key, place_of
from sidecar.clock import Clock, SystemClock
from sidecar.config import Address, Handover, RouteSettings, Settings
from sidecar.control import ControlServer
from sidecar.counters import Counters, Global, descriptor_in
from sidecar.errors import ConfigError, JournalError
from sidecar.identity.static import static_epoch
from sidecar.journal_lock import lock_journal
from sidecar.kill_switch import KillSwitch
from sidecar.ledger.enrolment import certify
from sidecar.ledger.note import SigningKey
from sidecar.left_settings import leave
from sidecar.listening import listen, resolve
from sidecar.records import Epoch
from sidecar.settings_table import default
from sidecar.shipping.location import Kind, locate
from sidecar.signing import SigningServer
from sidecar.supervisor import ANALYST_DELAY_LIMIT_S, RECORDER_DELAY_LIMIT_S, Child, Supervisor

log = logging.getLogger("sidecar.run")

# -P: a `statistics.py` in the user's folder must not become ours.
RECORDER_COMMAND = (sys.executable, "-P", "-m", "sidecar.recorder")
ANALYST_COMMAND = (sys.executable, "-P", "-m", "sidecar.pipeline")


@dataclass(frozen=True)
class Sockets:
    """Everything that listens on TCP."""

    routes: dict[str, list[socket.socket]]
    health: list[socket.socket]
    admin: list[socket.socket]


def run(
    settings: Settings,
    environment: Mapping[str, str],
    recorder_command: Sequence[str] = RECORDER_COMMAND,
    analyst_command: Sequence[str] = ANALYST_COMMAND,
    clock: Clock | None = None,
) -> int:
    """Supervise until a signal; returns the exit code. Raises SidecarError before any child was started."""
    clock = clock or SystemClock()
    for url in filter(None, (settings.store, settings.subjects_store)):
        location = locate(url)
        if location.kind is Kind.DIRECTORY:
            check_store(Path(location.path))
    check_privacy(settings)
    check_statistics(settings)
    if settings.identity != "static":
        # Loaded only where there is something to check.
        from sidecar.identifying import check_identity

        check_identity(settings, environment)
    settings = with_artifact_digests(settings)
    enroller = enrolment_key(settings)
    with ExitStack() as stack:
        settings, lock_fd = lock_journal(settings)
        journal = Path(settings.journal)
        stack.callback(os.close, lock_fd)
        settings, sockets = open_sockets(settings, stack)
        leave(settings)
        counters = _counters(journal, settings, clock, stack)
        if settings.identity != "static":
            from sidecar.model_watch import go_on_from

            go_on_from(journal, counters)
        raise_descriptor_limit(settings.max_connections)
        selector = stack.enter_context(selectors.DefaultSelector())
        key = SigningKey.generate(f"boot-{counters.boot}")
        signer = SigningServer(selector, key, counters.boot)
        stack.callback(signer.close)
        whole = msgspec.structs.replace(
            _handover(settings, sockets, counters, lock_fd, stack),
            signer_fd=signer.theirs.fileno(),
            public_key=key.verifier.public_key,
            enrolment=certify(enroller, place_of(settings).prefix, counters.boot, key.verifier.public_key)
            if enroller
            else None,
        )
        recorder = _child(
            "recorder", recorder_command, msgspec.structs.replace(whole, admin_fds=[], signer_fd=-1), stack
        )
        analyst = _child(
            "analyst", analyst_command, msgspec.structs.replace(whole, listeners={}, health_fds=[]), stack
        )
        supervisor = Supervisor(
            counters,
            recorder,
            analyst,
            [each for many in sockets.routes.values() for each in many],
            selector,
            settings.drain_delay_s + settings.grace_s,
            settings.ship_timeout_s,
            environment,
        )
        if settings.annotations_file is not None:
            switch = KillSwitch(Path(settings.annotations_file), lambda mode: counters.set(Global.MODE, mode))
            stack.enter_context(switch.followed())
        try:
            control = ControlServer(journal, selector, supervisor.answer)
            stack.callback(control.close)
        except JournalError as error:
            # Some network file systems hold no sockets; recording does not need one.
            log.warning("%s", error)
        _announce(settings, counters.boot, whole.epochs)
        return supervisor.run()


def _counters(journal: Path, settings: Settings, clock: Clock, stack: ExitStack) -> Counters:
    """This boot's counters, in the journal's folder unless its disk is full.

    A full disk must not keep traffic from flowing; elsewhere the counters only
    lose their use to the next boot.
    """
    wall_us = clock.wall_us()
    boot = boot_id(wall_us, os.urandom(5))
    routes = [route.name for route in settings.routes]
    try:
        counters = Counters.create(journal, boot, routes)
    except JournalError as error:
        log.error("%s; until the next start they are kept in a temporary folder", error)
        counters = Counters.create(_temporary_folder(stack), boot, routes)
    stack.callback(counters.close)
    counters.set(Global.BOOT_WALL_US, wall_us)
    counters.set(Global.SUPERVISOR_PID, os.getpid())
    if settings.pod_uid is not None:
        uid = hashlib.sha256(settings.pod_uid.encode()).digest()
        counters.set(Global.POD, int.from_bytes(uid[:8], "little"))
    return counters


def _temporary_folder(stack: ExitStack) -> Path:
    """A folder that goes with the stack. Raises JournalError.

    In memory where that can be had: beside a full disk, a read-only root file
    system is usual in containers.
    """
    from tempfile import TemporaryDirectory

    for place in ("/dev/shm", None):
        with contextlib.suppress(OSError):
            return Path(stack.enter_context(TemporaryDirectory(prefix="sidecar-", dir=place)))
    raise JournalError("no temporary folder can be made either: free space on the journal's disk")


def _handover(
    settings: Settings, sockets: Sockets, counters: Counters, lock_fd: int, stack: ExitStack
) -> Handover:
    """Everything either child may get, with the life pipe made here."""
    life_fd, life_write = os.pipe()
    stack.callback(os.close, life_fd)
    stack.callback(os.close, life_write)
    wall_us = counters.get(Global.BOOT_WALL_US)
    return Handover(
        settings=settings,
        boot=counters.boot,
        boot_wall_us=wall_us,
        counters_path=counters.inheritable,
        listeners={name: [each.fileno() for each in many] for name, many in sockets.routes.items()},
        health_fds=[each.fileno() for each in sockets.health],
        admin_fds=[each.fileno() for each in sockets.admin],
        life_fd=life_fd,
        lock_fd=lock_fd,
        epochs=epochs(settings, wall_us),
    )


def _child(name: str, command: Sequence[str], handover: Handover, stack: ExitStack) -> Child:
    descriptor = handover.write()
    stack.callback(os.close, descriptor)
    listeners = [each for many in handover.listeners.values() for each in many]
    inherited = [*listeners, *handover.health_fds, *handover.admin_fds, handover.life_fd, handover.lock_fd]
    inherited += [handover.signer_fd, descriptor_in(handover.counters_path)]
    limit_s = RECORDER_DELAY_LIMIT_S if name == "recorder" else ANALYST_DELAY_LIMIT_S
    return Child(name, command, descriptor, [each for each in inherited if each >= 0], limit_s)


def check_store(folder: Path) -> None:
    """Raise ConfigError when the store is not there and cannot be made.

    A store that is there but cannot be written to now is the analyst's to wait
    for: a restart must not stop traffic because a volume is read-only for a while.
    """
    try:
        if folder.is_dir():
            if not os.access(folder, os.W_OK | os.X_OK):
                log.warning("store %s cannot be written to now: records wait in the journal", folder)
            return
        if folder.exists():
            raise ConfigError(f"store: {folder} is not a folder: give a folder")
        missing = folder
        while not missing.parent.exists():
            missing = missing.parent
        # Tried and undone, because permission bits do not tell all; making it for good is the
        # analyst's, who knows whether a missing store is new or only not mounted.
        missing.mkdir()
        missing.rmdir()
    except OSError as error:
        raise ConfigError(
            f"store: {folder} cannot be made: {error.strerror}: give a folder that this user can write"
        ) from error


def with_artifact_digests(settings: Settings) -> Settings:
    """The settings with every route's artifact hashed. Raises ConfigError."""
    if not any(route.artifact for route in settings.routes):
        return settings
    from sidecar.identity.artifact import artifact_digest

    def hashed(route: RouteSettings) -> RouteSettings:
        if not route.artifact:
            return route
        return msgspec.structs.replace(route, artifact_digest=artifact_digest(route.artifact))

    return msgspec.structs.replace(settings, routes=tuple(hashed(route) for route in settings.routes))


def check_privacy(settings: Settings) -> None:
    """Raise ConfigError for rules or key files that the analyst could not work with."""
    if settings.redact or settings.keys or settings.subject or settings.master_key or settings.hash_key:
        # Loaded only to check, and only where there is something to check.
        from sidecar.guarding import guard_of

        guard_of(settings)
    if settings.master_key and locate(settings.subjects_store or settings.store).kind is Kind.EVENTS:
        raise ConfigError(
            "master_key: a receiver of events cannot keep the keys of encrypted records: give subjects_store "
            "a folder or bucket"
        )


def check_statistics(settings: Settings) -> None:
    """Raise ConfigError for rules, files and receivers that the statistics could not work with."""
    given = (settings.watch_file, settings.baseline_file, settings.schema_file, settings.decision)
    if any(given) or settings.false_alarms != default("false_alarms"):
        from sidecar.monitoring import monitoring

        monitoring(settings)
    if settings.alert_url or settings.alert_secret_file:
        from sidecar.advising import check_alerts

        check_alerts(settings)


def raise_descriptor_limit(max_connections: int) -> None:
    """Let the recorder, which inherits the limit, open both sides of every connection."""
    needed = 2 * max_connections + 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.info(
            "this machine allows %d open files, max_connections %d needs %d: raise `ulimit -n` or lower it",
            hard,
            max_connections,
            needed,
        )
        needed = hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _listen_name(route: RouteSettings, routes: int) -> str:
    return "listen" if routes == 1 else f"listen of route {route.name}"


def _addresses(settings: Settings) -> dict[str, Address]:
    """Every address to listen on, by the name that messages use."""
    addresses = {_listen_name(route, len(settings.routes)): route.listen for route in settings.routes}
    return {**addresses, "health": settings.health, "admin": settings.admin}


def open_sockets(settings: Settings, stack: ExitStack) -> tuple[Settings, Sockets]:
    """Bind everything; the settings come back with the ports that port 0 became.

    Raises ConfigError for a name that resolves to nothing, before any socket
    opens, and SidecarError for an address that is taken.
    """
    addresses = _addresses(settings)
    resolved = {name: resolve(name, address) for name, address in addresses.items()}
    opened = {}
    for name, address in addresses.items():
        opened[name] = listen(name, address, resolved[name])
        for each in opened[name]:
            stack.callback(each.close)

    def bound(name: str, address: Address) -> Address:
        return Address(address.host, opened[name][0].getsockname()[1])

    names = {route.name: _listen_name(route, len(settings.routes)) for route in settings.routes}
    routes = tuple(
        msgspec.structs.replace(route, listen=bound(names[route.name], route.listen))
        for route in settings.routes
    )
    settings = msgspec.structs.replace(
        settings, routes=routes, health=bound("health", settings.health), admin=bound("admin", settings.admin)
    )
    by_route = {route: opened[name] for route, name in names.items()}
    return settings, Sockets(by_route, opened["health"], opened["admin"])


def epochs(settings: Settings, since_us: int) -> tuple[Epoch, ...]:
    """One identity per route, from the settings."""
    return tuple(
        static_epoch(route.name, route.model, route.image_digest, route.artifact_digest, since_us)
        for route in settings.routes
    )


def _announce(settings: Settings, boot: str, identities: Sequence[Epoch]) -> None:
    unknown = [epoch.route for epoch in identities if epoch.source == "unknown"]
    if unknown and settings.identity == "static":
        log.warning(
            "identity of the model behind %s is unknown: give image_digest or artifact, so that records say "
            "which model answered",
            ", ".join(unknown),
        )
    if settings.master_key and not settings.subject:
        log.warning(
            "bodies are encrypted, but no subject says about whom a record is: nobody can be erased alone; "
            "give subject"
        )
    for route in settings.routes:
        log.info(
            "listening",
            extra={"route": route.name, "listen": str(route.listen), "upstream": f"http://{route.upstream}"},
        )
    log.info(
        "recording",
        extra={
            "boot": boot,
            "journal": settings.journal,
            "store": settings.store,
            "health": str(settings.health),
            "admin": str(settings.admin),
        },
    )
