"""The hub's process, its ports, its certificates and its clock."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from iotedge_lab import __version__
from iotedge_lab.doctor.finding import Finding, fail, ok, warn
from iotedge_lab.errors import LabError
from iotedge_lab.serve.addresses import Listening, can_bind, who_listens
from iotedge_lab.serve.certificates import RENEW_DAYS
from iotedge_lab.serve.claims import would_bind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iotedge_lab.doctor.situation import Situation

_TAIL: Final = 4096  # bytes of the log that are looked at
_CLOCK_SLACK: Final = 60.0  # seconds


def check_process(here: Situation) -> Iterator[Finding]:
    """Whether it runs and answers; whether it ended in order."""
    name, told, state = "hub", here.told, here.state
    unreadable = told is None and (state.path / "hub.json").exists()
    if here.running:
        if told is None:
            yield fail(
                name,
                f"a process holds {state.path / 'hub.lock'} and has not said in hub.json how to reach it",
                f"If it has just been started, wait a moment; else look at {state.log_file}",
            )
        elif here.trouble:
            yield fail(
                name,
                f"it runs (process {told.pid}) and does not answer: {here.trouble}",
                f"{here.restart()}; what it was doing is in {state.log_file}",
            )
        elif told.version != __version__:
            yield warn(
                name,
                f"it runs on {told.hostname} with version {told.version}, and this is {__version__}",
                here.restart(),
            )
        else:
            yield ok(name, f"it runs on {told.hostname} (process {told.pid}) and answers")
    elif unreadable:
        yield warn(
            name,
            f"it does not run; {state.path / 'hub.json'} is damaged or another version's, which is harmless",
            f"{here.command('up')} writes it anew",
        )
    elif told is None:
        yield ok(name, f"it has not been started yet: {here.command('up')}")
    elif _ended_in_order(state.log_file):
        yield ok(name, f"it is stopped: {here.command('up')} starts it")
    else:
        yield warn(
            name,
            f"it died (was process {told.pid}); the hub.json and hub.lock that it left are harmless, and "
            "what it acknowledged is kept",
            f"{here.command('up')} mends it",
        )


def _ended_in_order(log_file: Path) -> bool:
    """Whether the last thing that the log tells of the hub's life is that it stops."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return False
    life = [line for line in lines if "iotedge_lab.hub.process: hub " in line]
    return bool(life) and life[-1].endswith(" stops")


def check_ports(here: Situation) -> Iterator[Finding]:
    """That the next hub will find its ports, on the address that its clients know."""
    if here.running:
        if here.answering:
            yield ok("ports", f"{', '.join(map(str, here.ports))} of {here.host} are the hub's")
        return
    blocked = [port for port in here.ports if not can_bind(here.host, port)]
    if not blocked:
        yield ok("ports", f"{', '.join(map(str, here.ports))} of {here.host} are free")
        return
    holders = [
        each for port in blocked for each in who_listens(port) if each.everywhere or each.address == here.host
    ]
    who = " and ".join(dict.fromkeys(map(str, holders))) or "a process that this user may not see"
    said = f"{_ports(blocked)} of {here.host} is taken by {who}"
    try:
        other = would_bind(here.ports, here.state.hub_file)
    except LabError:
        if any(each.everywhere for each in holders):
            said += "; a listener on all addresses takes the port on every loopback address as well"
        yield fail(
            "ports",
            f"{said}; no other loopback address has all ports free, so the hub cannot start",
            _release(holders, blocked),
        )
        return
    moves = (
        ""
        if here.told is None
        else ", and the connection strings that name the old address would no longer lead to it"
    )
    yield warn("ports", f"{said}; the hub would move to {other}{moves}", _release(holders, blocked))


def _ports(numbers: list[int]) -> str:
    return f"port {numbers[0]}" if len(numbers) == 1 else f"each of the ports {', '.join(map(str, numbers))}"


def _release(holders: list[Listening], ports: list[int]) -> str:
    """How to get a port back: another lab's hub by its own command, another process by its number."""
    ways = []
    for pid in dict.fromkeys(each.pid for each in holders if each.pid is not None):
        state = _state_of_hub(pid)
        ways.append(f"kill {pid}" if state is None else f"iotedge-lab down --state {shlex.quote(state)}")
    return " && ".join(ways) or f"Find out who it is and stop it: sudo lsof -i :{ports[0]} -s TCP:LISTEN"


def _state_of_hub(pid: int) -> str | None:
    """The state folder of another lab's hub, by its command line; None if the process is none."""
    import psutil

    try:
        words: list[str] = psutil.Process(pid).cmdline()
    except (psutil.Error, OSError):
        return None
    if "iotedge_lab.hub" not in words or "--state" not in words[:-1]:
        return None
    return words[words.index("--state") + 1]


def check_port_443(here: Situation) -> Iterator[Finding]:
    """443, the one privileged port, or the way around it."""
    name = "port 443"
    told = here.told
    if here.running and told is not None and told.port_443:
        yield ok(name, f"the hub has it on {told.host}")
        return
    if not here.running:
        bindable = can_bind(here.host, 443)
        if bindable:
            yield ok(name, f"it is free on {here.host}, and this user may take it")
            return
        reason = "it is privileged" if "privileged" in bindable.reason else bindable.reason.rstrip(".")
    else:
        reason = "the hub could not take it"
    if told is not None and _leads_to_proxy(here, told.host, told.proxy_port):
        yield ok(name, f"{reason}; this shell's proxy variables lead around it")
        return
    yield warn(
        name,
        f"{reason}. What needs it and does not work: MQTT over WebSocket, file upload, a module's "
        "invoke_method, and service connection strings without a port. All else does",
        f'Where you need those: eval "$({here.command("env --proxy")})"',
    )


def _leads_to_proxy(here: Situation, host: str, port: int) -> bool:
    wanted = f"http://{host}:{port}"
    return all(here.environ.get(name, "").rstrip("/") == wanted for name in ("HTTPS_PROXY", "mqtt_proxy"))


def check_certificates(here: Situation) -> Iterator[Finding]:
    """That the server's certificate is the lab's, and valid now and for a while."""
    name, folder = "certificates", here.state.certificates
    if not here.ca_file.exists() and not (folder / "server.pem").exists():
        if here.running:
            yield fail(name, f"{folder} has been emptied while the hub ran", here.restart())
        else:
            yield ok(name, "made when the hub first starts")
        return
    found: dict[str, x509.Certificate] = {}
    for file in (here.ca_file, folder / "server.pem"):
        try:
            found[file.name] = x509.load_pem_x509_certificate(file.read_bytes())
        except FileNotFoundError:
            if here.running:
                yield fail(name, f"{file} is missing", here.restart())
                return
        except ValueError:
            yield fail(name, f"{file} is damaged", f"rm {shlex.quote(str(file))} && {here.restart()}")
            return
    root, server = found.get("lab-ca.pem"), found.get("server.pem")
    if root is not None and server is not None:
        try:
            server.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            yield fail(
                name,
                f"{folder / 'server.pem'} was not signed by the root beside it (copied from another lab?); "
                "clients refuse it with CERTIFICATE_VERIFY_FAILED",
                f"rm {shlex.quote(str(folder / 'server.pem'))} && {here.restart()}",
            )
            return
    yield _validity(here, list(found.values()))


def _validity(here: Situation, certificates: list[x509.Certificate]) -> Finding:
    name = "certificates"
    if not certificates:
        return ok(name, "made when the hub starts")
    now = datetime.fromtimestamp(here.clock.now(), UTC)
    first = max(each.not_valid_before_utc for each in certificates)
    last = min(each.not_valid_after_utc for each in certificates)
    again = here.restart() if here.running else here.command("up")
    if now < first:
        return fail(
            name,
            f"they are valid from {first:%Y-%m-%d %H:%M} UTC, and this machine's clock says "
            f"{now:%Y-%m-%d %H:%M} UTC: one of the two is wrong",
            "Set the clock (sudo timedatectl set-ntp true); if it was ahead when they were made: "
            f"rm -r {shlex.quote(str(here.state.certificates))} && {here.restart()}",
        )
    if now > last:
        expired = f"they expired on {last:%Y-%m-%d}; clients refuse them with CERTIFICATE_VERIFY_FAILED"
        if here.running:
            return fail(name, expired, f"{again} renews them; then in each shell: {here.set_variables()}")
        return warn(name, expired, f"{again} renews them")
    if here.running and last - now < timedelta(days=RENEW_DAYS):
        return warn(
            name, f"they expire on {last:%Y-%m-%d}, in {(last - now).days} days", f"{again} renews them"
        )
    return ok(name, f"valid until {last:%Y-%m-%d}")


def check_clock(here: Situation) -> Iterator[Finding]:
    """That time has not run backwards since the hub started: tokens and certificates live by it."""
    if here.told is None:
        return
    ahead = here.told.started - here.clock.now()
    if ahead > _CLOCK_SLACK:
        yield warn(
            "clock",
            f"the hub was started {ahead / 60:.0f} minutes from now: the clock has been set back since; "
            "tokens made before do not expire when they should",
            f"Check the clock (date -u), then {here.restart()}",
        )
    else:
        yield ok("clock", "it has not been set back since the hub started")


CHECKS: Final = (
    ("hub", check_process),
    ("ports", check_ports),
    ("port 443", check_port_443),
    ("certificates", check_certificates),
    ("clock", check_clock),
)
