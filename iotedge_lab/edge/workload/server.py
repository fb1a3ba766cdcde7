"""The workload API of an edge device, on a unix socket and, where wanted, on a loopback port.

    GET  /trust-bundle                                     the certificates that a module trusts
    POST /modules/{module}/genid/{genid}/sign              HMAC-SHA256 with the module's key
    POST /modules/{module}/genid/{genid}/certificate/server    a server certificate for the module
    GET  /modules                                          the modules and how they are

Stands for the workload socket of `aziot-edged` (Azure/iotedge, edgelet/api/workloadVersion_2020_10_10.yaml):
`api-version` in the query, errors as `{"message": ...}`, 403 for a caller that may not speak for a module. Unlike
there the generation id in the path is checked, so an identity that was deleted and made again signs with its new
generation only; and one socket serves all modules (the real one has one for each since 1.2.4).

Left out: encrypt and decrypt, identity certificates, and the manifest trust bundle (no manifest is signed here).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import json
import logging
import os
import socket
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from aiohttp import web

from iotedge_lab.edge.workload.callers import Caller, caller_of
from iotedge_lab.edge.workload.certificates import server_certificate
from iotedge_lab.errors import EnvironmentProblem, LabError, UsageError
from iotedge_lab.serve.addresses import listen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from iotedge_lab.edge.workload.keys import KeyRing, ModuleKey
    from iotedge_lab.serve.certificates import Authority

log = logging.getLogger(__name__)

API_VERSIONS: Final = (
    "2018-06-28", "2018-12-30", "2019-01-30", "2019-10-22", "2019-11-05", "2020-02-21", "2020-07-07", "2020-07-22",
    "2020-10-10", "2021-12-07", "2022-08-03",
)  # fmt: skip
#: What modules are told to ask for (`IOTEDGE_APIVERSION`).
API_VERSION: Final = "2020-10-10"
MAX_BODY: Final = 256 * 1024  # bytes of a request
_LONGEST_PATH: Final = 100  # bytes of a unix socket's path: 108 on Linux, 104 on macOS, with the closing zero


class _Refused(Exception):
    """An answer that is no success: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class WorkloadServer:
    """Serves the workload API from `start` to `close`.

    `keys` is a live mapping from module to its key. `authority` gives the trust bundle and issues certificates.
    `modules` lists the modules as `GET /modules` answers (`Supervisor.listing`). `module_of` tells which module a
    process belongs to, or None (`Supervisor.module_of`): such a process may speak for that module alone.
    """

    def __init__(
        self,
        keys: KeyRing,
        authority: Authority,
        *,
        modules: Callable[[], Sequence[dict[str, Any]]] | None = None,
        module_of: Callable[[int], str | None] | None = None,
    ) -> None:
        self._keys = keys
        self._authority = authority
        self._modules = modules or list
        self._module_of = module_of or (lambda _pid: None)
        self._runner: web.AppRunner | None = None
        self._issuing = asyncio.Lock()
        self._socket: Path | None = None
        self._temporary: Path | None = None
        self._port: int | None = None

    async def start(self, folder: Path, *, port: int | None = None) -> Self:
        """Serve on `folder/workload.sock` (the folder is made, mode 0700) and, unless `port` is None, on 127.0.0.1.

        `port` 0 is any free one. Where the socket's path would be longer than the system takes, it lies in a
        private folder of its own: `socket_uri` says where. Raises PortTaken, or EnvironmentProblem where the
        folder cannot be used or another server holds the socket.
        """
        application = web.Application(client_max_size=MAX_BODY, middlewares=[_answering])
        application.add_routes(
            [
                web.get("/trust-bundle", self._trust_bundle),
                web.get("/modules", self._list),
                web.post("/modules/{module}/genid/{genid}/sign", self._sign),
                web.post("/modules/{module}/genid/{genid}/certificate/server", self._certificate),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=2.0)
        try:
            await self._runner.setup()
            await web.SockSite(self._runner, self._unix_socket(folder)).start()
            if port is not None:
                (sock,) = listen("127.0.0.1", port)
                self._port = sock.getsockname()[1]
                await web.SockSite(self._runner, sock).start()
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def socket_uri(self) -> str:
        """`unix:///...`: what modules are given as `IOTEDGE_WORKLOADURI`. Not percent-encoded: the SDKs do that."""
        assert self._socket is not None, "the server was not started"
        return f"unix://{self._socket}"

    @property
    def http_uri(self) -> str | None:
        """`http://127.0.0.1:port/`, or None where no port was asked for."""
        return f"http://127.0.0.1:{self._port}/" if self._port is not None else None

    async def close(self) -> None:
        """Stop serving and remove the socket; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.unlink(missing_ok=True)
            self._socket = None
        if self._temporary is not None:
            with suppress(OSError):
                self._temporary.rmdir()
            self._temporary = None
        self._port = None

    # -- the socket ------------------------------------------------------------------------------------

    def _unix_socket(self, folder: Path) -> socket.socket:
        if sys.platform == "win32":
            raise EnvironmentProblem(
                "The workload API needs unix sockets, which Python has not on Windows; use WSL."
            )
        path = folder.absolute() / "workload.sock"
        if len(os.fsencode(path)) > _LONGEST_PATH:
            self._temporary = Path(tempfile.mkdtemp(prefix="iotedge-lab-"))  # mode 0700
            path = self._temporary / "workload.sock"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            _remove_left_over(path)
            sock.bind(str(path))
            path.chmod(0o600)
        except OSError as error:
            sock.close()
            raise EnvironmentProblem(
                f"The workload socket {path} cannot be made ({error.strerror}). Mend the folder's rights or free "
                "some space, or choose another state folder."
            ) from error
        except LabError:
            sock.close()
            raise
        self._socket = path
        sock.setblocking(False)
        return sock

    # -- what it answers -------------------------------------------------------------------------------

    async def _trust_bundle(self, request: web.Request) -> web.Response:
        self._caller(request)
        return web.json_response({"certificate": self._authority.ca_pem})

    async def _list(self, request: web.Request) -> web.Response:
        self._caller(request)
        return web.json_response({"modules": list(self._modules())})

    async def _sign(self, request: web.Request) -> web.Response:
        _, key = self._authorized(request)
        body = await _json(request)
        if body.get("algo", "HMACSHA256") != "HMACSHA256":
            raise _Refused(400, f"algo is {body['algo']!r}; HMACSHA256 is what there is.")
        data = body.get("data")
        if not isinstance(data, str):
            raise _Refused(400, "data is missing: what is to be signed, in base64.")
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise _Refused(400, "data is not base64.") from None
        return web.json_response({"digest": key.sign(raw)})

    async def _certificate(self, request: web.Request) -> web.Response:
        module, key = self._authorized(request)
        name = (await _json(request)).get("commonName")
        if not isinstance(name, str) or not name:
            raise _Refused(400, "commonName is missing: the host name that the module serves under.")
        async with self._issuing:  # two at once would write one file
            try:
                made = await asyncio.to_thread(
                    server_certificate, self._authority, module, key.generation_id, name
                )
            except UsageError as error:
                raise _Refused(400, str(error)) from None
        return web.json_response(made, status=201)

    # -- who asks, and for what ------------------------------------------------------------------------

    def _authorized(self, request: web.Request) -> tuple[str, ModuleKey]:
        """The module that a request speaks for, and its key."""
        caller = self._caller(request)
        module = request.match_info["module"]
        key = self._keys.get(module)
        if key is None:
            raise _Refused(404, f"There is no module {module!r} on this device.")
        of_process = self._module_of(caller.pid) if caller.pid is not None else None
        if of_process is not None and of_process != module:
            log.warning("the module %s asked for a signature of %s, and was refused", of_process, module)
            raise _Refused(403, f"forbidden: the caller is the module {of_process!r}, and not {module!r}.")
        if not key.is_generation(request.match_info["genid"]):
            raise _Refused(403, f"forbidden: this is not the generation id of the module {module!r}.")
        return module, key

    def _caller(self, request: web.Request) -> Caller:
        """Who calls. Refuses other users, and requests without an api-version that is known."""
        transport = request.transport
        sock = transport.get_extra_info("socket") if transport is not None else None
        if sock is None or sock.fileno() < 0:
            raise _Refused(403, "forbidden: the connection is gone.")
        caller = caller_of(sock.fileno())
        if caller.uid is not None and caller.uid != os.getuid():
            log.warning("user %d asked for %s, and was refused", caller.uid, request.path)
            raise _Refused(403, "forbidden: this edge device runs for another user.")
        version = request.query.get("api-version")
        if version is None:
            raise _Refused(400, f"api-version not specified; add ?api-version={API_VERSION}.")
        if version not in API_VERSIONS:
            raise _Refused(400, f"invalid api-version {version!r}; known are {', '.join(API_VERSIONS)}.")
        return caller


@web.middleware
async def _answering(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every refusal as `{"message": ...}`."""
    try:
        return await handler(request)
    except _Refused as refused:
        return web.json_response({"message": refused.message}, status=refused.status)
    except web.HTTPException as error:
        words = {404: "not found", 405: "method not allowed"}
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        message = words.get(error.status, error.reason)
        return web.json_response({"message": message}, status=error.status, headers=headers)
    except LabError as error:
        log.exception("%s %s failed", request.method, request.path)
        return web.json_response({"message": str(error)}, status=500)


async def _json(request: web.Request) -> dict[str, Any]:
    """The body as an object. The SDK sends no content type with it."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise _Refused(400, "The request body is no JSON.") from None
    if not isinstance(body, dict):
        raise _Refused(400, "The request body is no JSON object.")
    return body


def _remove_left_over(path: Path) -> None:
    """Remove the socket of a server that was killed; raise where one still answers, or where a file is in the way."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EnvironmentProblem(f"{path} is in the way of the workload socket; move it elsewhere.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise
            path.unlink(missing_ok=True)
            return
    raise EnvironmentProblem(
        f"Another edge runtime serves {path}. Stop it first, or give this one another state folder."
    )
