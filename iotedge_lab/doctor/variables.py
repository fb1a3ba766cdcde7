"""The shell's variables: which hub they name, whom they trust, and which way they lead.

The symptoms quoted are what the SDKs say (azure-iot-device 2.14, azure-iot-hub 2.7, azure-eventhub 5.15).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # typeshed lacks it

from iotedge_lab.doctor.finding import Finding, fail, ok, warn
from iotedge_lab.doctor.situation import EVENTS_VARIABLE, SERVICE_VARIABLE, Situation
from iotedge_lab.errors import ConnectionStringError
from iotedge_lab.lab import AZURE_NAME
from iotedge_lab.serve.addresses import is_loopback, who_listens
from iotedge_lab.wire.connection_string import ConnectionString

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYMPTOMS: Final = {
    "SSL_CERT_FILE": "azure.iot.device then says 'ClientError ... TLS exchanges', and cloud-to-device messages end "
    "with 'TimeoutError: Authorization timeout.'",
    "REQUESTS_CA_BUNDLE": "azure.iot.hub then tries for 5 s and says 'ClientRequestError'",
}
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def check_service_string(here: Situation) -> Iterator[Finding]:
    """IOTHUB_CONNECTION_STRING: this hub, another lab's, Azure's, or an old one."""
    name, text = SERVICE_VARIABLE, here.environ.get(SERVICE_VARIABLE)
    if not text:
        yield warn(
            name,
            "it is not set, so this shell's programs do not know the hub (workbooks set it themselves)",
            here.set_variables(),
        )
        return
    try:
        parsed = ConnectionString.parse(text)
    except ConnectionStringError as error:
        yield fail(name, f"it cannot be read: {error}", here.set_variables())
        return
    if parsed.host_name is None or parsed.shared_access_key_name is None:
        yield fail(
            name,
            f"it is for {_kind(parsed)}, and a service's is needed "
            "(HostName, SharedAccessKeyName, SharedAccessKey)",
            here.set_variables(),
        )
        return
    if here.aims_elsewhere():
        yield ok(
            name,
            f"it names {parsed.host}: workbooks and commands use that hub, not the local one "
            f"(unset {SERVICE_VARIABLE} for the local one)",
        )
        return
    if here.told is None:
        yield fail(
            name,
            f"it names a hub at {parsed.host_name}, and {here.state.path} has never had one",
            here.set_variables(),
        )
        return
    known = {here.told.hostname, f"{here.told.hostname}:{here.told.https_port}", AZURE_NAME}
    if parsed.host_name.lower() not in known:
        yield fail(
            name,
            f"it names the hub {parsed.host_name} of another lab, and the hub of {here.state.path} is "
            f"{here.told.hostname}:{here.told.https_port}",
            here.set_variables(),
        )
    elif here.told.keys.get(parsed.shared_access_key_name) != parsed.shared_access_key:
        yield fail(
            name,
            f"its key for {parsed.shared_access_key_name!r} is not this hub's (any more): the state folder was "
            "made anew since; REST calls are refused with 401",
            here.set_variables(),
        )
    else:
        yield ok(name, "it names this hub, with its key")


def _kind(parsed: ConnectionString) -> str:
    return parsed.kind.value if parsed.endpoint is not None else f"a {parsed.kind.value}"


def check_events_string(here: Situation) -> Iterator[Finding]:
    """EVENTHUB_CONNECTION_STRING: the same hub's."""
    name, text = EVENTS_VARIABLE, here.environ.get(EVENTS_VARIABLE)
    if not text:
        if here.aims_elsewhere():
            yield warn(
                name,
                "it is not set, and without it nothing can be read from the hub on Azure",
                f"export {name}='Endpoint=sb://...;EntityPath=...' (portal: IoT Hub, Built-in endpoints)",
            )
        elif here.environ.get(SERVICE_VARIABLE):
            yield warn(
                name, "it is not set, so this shell's programs cannot read events", here.set_variables()
            )
        return
    try:
        parsed = ConnectionString.parse(text)
        host, port = parsed.host, parsed.port
    except ConnectionStringError as error:
        yield fail(name, f"it cannot be read: {error}", here.set_variables())
        return
    if parsed.endpoint is None:
        yield fail(name, "it is no Event Hubs connection string (Endpoint=sb://...)", here.set_variables())
    elif is_loopback(host) == here.aims_elsewhere():
        yield fail(
            name,
            f"it names {host}, and {SERVICE_VARIABLE} names {here.service_host() or 'the local hub'}: "
            "devices would send to one hub and readers read another",
            here.set_variables(),
        )
    elif not is_loopback(host):
        yield ok(name, f"it names {host}")
    elif here.told is None or (host, port) != (here.told.hostname, here.told.plain_amqp_port):
        yield fail(name, f"it names {host}:{port}, which is not this hub's endpoint", here.set_variables())
    elif here.told.keys.get(parsed.shared_access_key_name or "") != parsed.shared_access_key:
        yield fail(name, "its key is not this hub's (any more)", here.set_variables())
    else:
        yield ok(name, "it names this hub's endpoint, with its key")


def check_trust(here: Situation) -> Iterator[Finding]:
    """SSL_CERT_FILE and REQUESTS_CA_BUNDLE: whether the SDKs trust the hub's certificate."""
    for name, symptom in _SYMPTOMS.items():
        yield _trust(here, name, symptom)
    if here.environ.get("NODE_EXTRA_CA_CERTS") and not here.aims_elsewhere():
        yield _trust(here, "NODE_EXTRA_CA_CERTS", "Node programs then say UNABLE_TO_VERIFY_LEAF_SIGNATURE")


def _trust(here: Situation, name: str, symptom: str) -> Finding:
    value = here.environ.get(name)
    # It matters at once only in a shell that is meant for the local hub.
    bad = fail if here.service_host() is not None and not here.aims_elsewhere() else warn
    if not value:
        if here.aims_elsewhere():
            return ok(name, "it is not set, and for a hub on Azure it need not be")
        return bad(name, f"it is not set; {symptom}", here.set_variables())
    file = Path(value)
    if not file.is_file():
        if (
            name == "REQUESTS_CA_BUNDLE" and file.is_dir()
        ):  # requests takes a folder too; the lab's CA is not in it
            return bad(
                name,
                f"it names the folder {value}, and the hub's root is not looked for there; {symptom}",
                here.set_variables(),
            )
        fix = f"unset {name}" if here.aims_elsewhere() else here.set_variables()
        return fail(name, f"it names {value}, which does not exist; {symptom}", fix)
    if here.aims_elsewhere():
        return ok(name, f"it names {value}")
    wanted = _certificates(here.ca_file)
    if not wanted:
        return ok(name, f"it names {value}; the hub has no certificate yet")
    if not wanted <= _certificates(file):
        return bad(
            name,
            f"it names {value}, in which the root of this lab ({here.ca_file}) is not; {symptom}",
            here.set_variables(),
        )
    return ok(name, "the hub's root is in the file that it names")


def _certificates(file: Path) -> set[bytes]:
    """The certificates in a PEM file, as DER."""
    try:
        content = file.read_bytes()
    except OSError:
        return set()
    found = set()
    for block in _PEM.findall(content):
        try:
            found.add(base64.b64decode(block))
        except binascii.Error:
            continue
    return found


def check_proxies(here: Situation) -> Iterator[Finding]:
    """HTTPS_PROXY and mqtt_proxy: nothing may lead this machine's own traffic away."""
    if here.aims_elsewhere():
        return
    found = False
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "mqtt_proxy", "MQTT_PROXY"):
        value = here.environ.get(name)
        if not value:
            continue
        found = True
        yield _proxy(here, name, value)
    if not found:
        yield ok("proxies", "no proxy stands between this shell and the hub")


def _proxy(here: Situation, name: str, value: str) -> Finding:
    lead = f"{name}={_without_password(value)}"
    mqtt = name.lower() == "mqtt_proxy"
    symptom = (
        "azure.iot.device then says 'ConnectionFailedError' although the hub answers"
        if mqtt
        else "azure.iot.hub and file upload then say 'ClientRequestError' or 'ProxyError'"
    )
    if _bypassed(here, here.hostname, ranges=not mqtt):
        return ok(name, f"{lead}, and NO_PROXY leaves {here.hostname} out of it")
    host, port = _host_and_port(value)
    told = here.told
    if host is not None and is_loopback(host):
        if told is not None and (host, port) == (told.host, told.proxy_port):
            if here.running:
                return ok(name, "it leads to the hub's own proxy, and so to the hub")
            return warn(
                name, f"{lead} leads to the hub's own proxy, and the hub does not run", here.command("up")
            )
        if not any(each.everywhere or each.address == host for each in who_listens(port or 0)):
            return fail(
                name,
                f"{lead} leads to a port on which nothing listens (an earlier hub's proxy?); {symptom}",
                f'unset {name}; where port 443 is needed: eval "$({here.command("env --proxy")})"',
            )
    if mqtt:
        return fail(
            name, f"{lead} leads MQTT for {here.hostname} away from this machine; {symptom}", f"unset {name}"
        )
    return fail(
        name,
        f"{lead} leads HTTPS for {here.hostname} away from this machine; {symptom}",
        f"export NO_PROXY={_no_proxy(here)} no_proxy={_no_proxy(here)}",
    )


def _bypassed(here: Situation, host: str, *, ranges: bool) -> bool:
    """Whether no_proxy leaves `host` out: as urllib has it (paho), and with address ranges (requests)."""
    listed = here.environ.get("no_proxy") or here.environ.get("NO_PROXY") or ""
    if proxy_bypass_environment(host, {"no": listed}):
        return True
    if not ranges:
        return False
    for entry in listed.split(","):
        try:
            if "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(
                entry.strip(), strict=False
            ):
                return True
        except ValueError:
            continue
    return False


def _no_proxy(here: Situation) -> str:
    kept = here.environ.get("no_proxy") or here.environ.get("NO_PROXY") or ""
    names = [each.strip() for each in kept.split(",") if each.strip()]
    return ",".join(dict.fromkeys([*names, "localhost", "127.0.0.1", here.host]))


def _host_and_port(value: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return parts.hostname, parts.port
    except ValueError:
        return None, None


def _without_password(value: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", value)


CHECKS: Final = (
    (SERVICE_VARIABLE, check_service_string),
    (EVENTS_VARIABLE, check_events_string),
    ("trust", check_trust),
    ("proxies", check_proxies),
)
