"""`device`: the identity registry from a terminal, on the local hub and on Azure alike (REST)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from iotedge_lab.cli.app import echo_lines, not_empty, state_option, table, target_lab
from iotedge_lab.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from iotedge_lab.rest import RestClient

MASK = "***"
_KEYS = ("primaryKey", "secondaryKey")
_MOST = 1000  # the API lists no more at once

_module_option = click.option(
    "--module",
    "module_id",
    metavar="M",
    callback=not_empty,
    help="A module of the device instead of the device.",
)
_id_argument = click.argument("device_id", metavar="ID", callback=not_empty)


@click.group(short_help="Create, list, show, delete devices.")
def device() -> None:
    """Create, list, show and delete devices and modules.

    On the local hub, or on the hub that IOTHUB_CONNECTION_STRING names.
    """


@device.command()
@state_option
@_id_argument
@click.option("--edge", is_flag=True, help="An IoT Edge device, with $edgeAgent and $edgeHub.")
@click.option(
    "--module",
    "module_id",
    metavar="M",
    callback=not_empty,
    help="A module M of the device ID, which must exist.",
)
@click.option("--disabled", is_flag=True, help="Not allowed to connect yet.")
@click.option(
    "--parent",
    metavar="EDGE",
    callback=not_empty,
    help="The edge device through which it connects (GatewayHostName), which must exist.",
)
def create(
    *,
    state_dir: Path | None,
    device_id: str,
    edge: bool,
    module_id: str | None,
    disabled: bool,
    parent: str | None,
) -> None:
    """Register the device ID, with keys that the hub draws."""
    body: dict[str, Any] = {
        "deviceId": device_id,
        "authentication": {"type": "sas", "symmetricKey": {"primaryKey": None, "secondaryKey": None}},
    }
    if module_id is not None:
        if edge or disabled or parent is not None:
            raise click.UsageError(
                "--edge, --disabled and --parent are for devices; a module has none of them."
            )
        body |= {"moduleId": module_id, "managedBy": None}
    else:
        body |= {"status": "disabled" if disabled else "enabled", "capabilities": {"iotEdge": edge}}
    rest = target_lab(state_dir).rest()
    if parent is not None:
        scope = _scope_of(rest, parent)
        # A leaf device lies in its parent's scope; an edge device has one of its own, below it.
        body |= {"parentScopes": [scope]} if edge else {"deviceScope": scope}
    rest.call("PUT", _path(device_id, module_id), body)
    kind = "module" if module_id else "Edge device" if edge else "device"
    click.echo(f"created {kind} {_name(device_id, module_id)}{' (disabled)' if disabled else ''}")


@device.command("list")
@state_option
@click.option("--json", "as_json", is_flag=True, help="The API's JSON, keys masked.")
def list_(state_dir: Path | None, as_json: bool) -> None:
    """List the devices: id, status, whether connected, whether an Edge device, how they authenticate."""
    found = target_lab(state_dir).rest().call("GET", "/devices", query={"top": str(_MOST)})
    found.sort(key=lambda each: str(each["deviceId"]))
    if as_json:
        click.echo(json.dumps([masked(each) for each in found], indent=2))
    else:
        rows = [("DEVICE", "STATUS", "CONNECTION", "EDGE", "AUTHENTICATION")]
        rows += [
            (
                str(each["deviceId"]),
                str(each.get("status") or "-"),
                str(each.get("connectionState") or "-"),
                "yes" if (each.get("capabilities") or {}).get("iotEdge") else "no",
                str((each.get("authentication") or {}).get("type") or "-"),
            )
            for each in found
        ]
        echo_lines(table(rows))
    if len(found) == _MOST:
        click.echo(f"note: these are the first {_MOST}; the API lists no more.", err=True)


@device.command()
@state_option
@_id_argument
@_module_option
@click.option("--keys", is_flag=True, help=f"Show the keys instead of {MASK}.")
def show(state_dir: Path | None, device_id: str, module_id: str | None, keys: bool) -> None:
    """Show a device or module as the API's JSON, keys masked."""
    found = target_lab(state_dir).rest().call("GET", _path(device_id, module_id))
    click.echo(json.dumps(found if keys else masked(found), indent=2))


@device.command()
@state_option
@_id_argument
@_module_option
def delete(state_dir: Path | None, device_id: str, module_id: str | None) -> None:
    """Delete a device with its modules, or one module. Messages that it sent stay."""
    target_lab(state_dir).rest().call("DELETE", _path(device_id, module_id), headers={"If-Match": "*"})
    click.echo(f"deleted {'module' if module_id else 'device'} {_name(device_id, module_id)}")


@device.command("connection-string")
@state_option
@_id_argument
@_module_option
def connection_string(state_dir: Path | None, device_id: str, module_id: str | None) -> None:
    """Print the connection string, with the primary key in it: it is a secret where the hub is on Azure."""
    click.echo(target_lab(state_dir).device_connection_string(device_id, module_id))


def masked(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity with `***` for each symmetric key that it has."""
    authentication = identity.get("authentication")
    keys = authentication.get("symmetricKey") if isinstance(authentication, dict) else None
    if not isinstance(authentication, dict) or not isinstance(keys, dict):
        return identity
    shown = {name: MASK if name in _KEYS and key else key for name, key in keys.items()}
    return identity | {"authentication": authentication | {"symmetricKey": shown}}


def _scope_of(rest: RestClient, parent: str) -> str:
    """The scope of an edge device; raises UsageError for a device that is none."""
    found = rest.call("GET", _path(parent, None))
    scope = found.get("deviceScope")
    if not scope or not (found.get("capabilities") or {}).get("iotEdge"):
        raise UsageError(
            f"{parent!r} is no edge device, so nothing can connect through it. Create it with "
            f"'iotedge-lab device create {parent} --edge'."
        )
    return str(scope)


def _path(device_id: str, module_id: str | None) -> str:
    from iotedge_lab.rest import quote

    return f"/devices/{quote(device_id)}" + (f"/modules/{quote(module_id)}" if module_id else "")


def _name(device_id: str, module_id: str | None) -> str:
    return f"{device_id}/{module_id}" if module_id else device_id
