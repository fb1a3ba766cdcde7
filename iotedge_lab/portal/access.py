"""Who may use the portal: the owner of its token, from a page of its own.

The token comes in a header that no form and no image can send, never as a cookie, so another site's page can neither
read nor change anything, whatever the browser knows. The calls also want `X-Lab-Portal`, for behind JupyterLab it is
JupyterLab that adds the token, to any request of a person who is logged in. Pages may load what this server serves
and nothing else, and run no script that stands in them: an id or a payload with HTML in it stays text. Other sites may
not put them into a frame (JupyterLab, whose origin they share there, may), and a name of another site that leads to
this machine (DNS rebinding) is not answered.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MARK: Final = "X-Lab-Portal"
_CALLS: Final = "/api/"
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guard(token: str, *, any_host: bool = False) -> Middleware:
    """A middleware that lets calls through only with the token and the mark, and gives each answer its headers.

    `any_host`: the request's Host may be any, as behind JupyterLab; else it is a name of this machine's.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not any_host and _host(request) not in _HOSTS:
            return answer_error(
                421, "Misdirected", "The portal is reached by 127.0.0.1 or localhost, and by no other name."
            )
        if request.path.startswith(_CALLS):
            refused = _refusal(request, token)
            if refused is not None:
                return refused
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(_HEADERS)
            raise
        if not response.prepared:  # a stream has sent its headers by itself
            response.headers.update(_HEADERS)
        return response

    return guarded


def headers() -> dict[str, str]:
    """What a handler that sends its own headers has to send with them."""
    return dict(_HEADERS)


def _host(request: web.Request) -> str:
    """The name that the request was sent to, without its port; a port that is forwarded is another one here."""
    host = request.headers.get("Host", "")
    return (host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]).lower()


def _refusal(request: web.Request, token: str) -> web.Response | None:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(errors="replace"), token.encode()):
        return answer_error(
            401, "Unauthorized", "The link's token is needed: open the link that 'iotedge-lab portal' prints."
        )
    if MARK not in request.headers or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return answer_error(403, "Forbidden", "Only the portal's own page may ask.")
    return None


def answer_error(status: int, name: str, message: str) -> web.Response:
    """An error as each call answers it."""
    return web.json_response({"error": name, "message": message}, status=status, headers=_HEADERS)
