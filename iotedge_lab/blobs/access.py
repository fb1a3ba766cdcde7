"""Who may do what: a request's signature, with the account's key or by a shared access signature.

"Authorize requests to Azure Storage" (learn.microsoft.com, rest/api/storageservices). What is signed is in
`wire/storage`. A request without either is refused: no container is public. A token whose signature holds is then
asked whether it is for this, now, from here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from iotedge_lab.blobs.errors import BlobError, unauthenticated
from iotedge_lab.blobs.operations import Level, Operation
from iotedge_lab.wire.storage import blob_sas, shared_key
from iotedge_lab.wire.storage.blob_sas import SasProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from iotedge_lab.serve.storage import Keys
    from iotedge_lab.wire.storage.blob_sas import BlobSas

SKEW: Final = 900.0  # s that a signed request's time may be off


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as who may make it depends on it. `path` is as it was sent; names are decoded.

    `query` and `headers` hold every value that came, in order.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Sequence[tuple[str, str]]
    account: str
    container: str
    blob: str
    peer: str


@dataclass(frozen=True, slots=True)
class Grant:
    """That it is allowed. `may_overwrite` False: only a blob that is not there yet may be written.

    `response_headers`: what a reader shall be told in place of the blob's own.
    """

    may_overwrite: bool = True
    response_headers: Mapping[str, str] = field(default_factory=dict)


class Access:
    """The account's keys, and the check of requests against them.

    `policies(container)`: its stored access policies by id (`Container.policies`); it may raise `BlobError`.
    """

    def __init__(
        self, keys: Keys, policies: Callable[[str], Mapping[str, Mapping[str, str]]], now: Callable[[], float]
    ) -> None:
        self._account = keys.account
        self._keys = (keys.primary, keys.secondary)
        self._policies = policies
        self._now = now

    def require(self, asked: Asked, operation: Operation) -> Grant:
        """Let a request do `operation`, or raise `BlobError` (401, 403) with Azure's code and the reason."""
        query = dict(asked.query)
        authorization = next((value for name, value in asked.headers if name.lower() == "authorization"), "")
        if authorization:
            return self._by_key(asked, authorization)
        if "sig" not in query:
            raise BlobError(
                401,
                "NoAuthenticationInformation",
                "Server failed to authenticate the request. Please refer to the information in the www-authenticate "
                "header. Sign it with the account's key, or add a shared access signature.",
            )
        return self.by_token(asked, query, operation)

    # -- Shared Key ------------------------------------------------------------------------------------

    def _by_key(self, asked: Asked, authorization: str) -> Grant:
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            raise BlobError(
                403,
                "AuthenticationFailed",
                "Server failed to authenticate the request.",
                {
                    "AuthenticationErrorDetail": "The lab's storage knows no Microsoft Entra ID; use the account's key."
                },
            )
        account, separator, signature = rest.partition(":")
        if scheme != shared_key.SCHEME or not separator:
            raise BlobError(
                400,
                "InvalidAuthenticationInfo",
                "Authentication information is not given in the correct format. Check the value of Authorization "
                "header: it reads 'SharedKey {account}:{signature}'.",
            )
        if account != self._account:
            raise unauthenticated(
                f"The account is {self._account!r} here, and the request is signed for {account[:40]!r}."
            )
        self._check_date(asked)
        strings = list(
            shared_key.strings_to_sign(asked.method, asked.path, asked.query, asked.headers, self._account)
        )
        for key in self._keys:
            for text in strings:
                if shared_key.same(shared_key.sign(text, key), signature):
                    return Grant()
        shown = strings[0].replace("\n", "\\n")
        raise unauthenticated(
            f"The MAC signature found in the HTTP request is not the same as any computed signature. Server used "
            f"following string to sign: '{shown}'."
        )

    def _check_date(self, asked: Asked) -> None:
        dates = {
            name.lower(): value for name, value in asked.headers if name.lower() in ("x-ms-date", "date")
        }
        text = dates.get("x-ms-date", dates.get("date", ""))
        try:
            off = abs(parsedate_to_datetime(text).timestamp() - self._now())
        except ValueError:
            raise unauthenticated("The Date (or x-ms-date) header is missing, or no HTTP date.") from None
        if off > SKEW:
            raise unauthenticated(
                f"The Date header in the request is incorrect: it is {off:,.0f} s off, and {SKEW:.0f} s are allowed."
            )

    # -- shared access signatures ----------------------------------------------------------------------

    def by_token(self, asked: Asked, query: Mapping[str, str], operation: Operation) -> Grant:
        """Let a request do `operation` by the token in `query`, or raise `BlobError` (403)."""
        try:
            token = blob_sas.parse(query)
        except SasProblem as error:
            raise unauthenticated(f"The shared access signature is not well formed: {error}.") from None
        text = token.string_to_sign(self._account, asked.container, asked.blob)
        if not any(shared_key.same(shared_key.sign(text, key), token.signature) for key in self._keys):
            shown = text.replace("\n", "\\n")
            raise unauthenticated(f"Signature did not match. String to sign used was {shown}")
        token = self._with_policy(token, asked.container)
        self._check_time(token)
        self._check_peer(token, asked.peer)
        permissions = self._check_reach(token, operation, asked)
        allowed = operation.account if token.is_account else operation.service
        if not set(allowed) & set(permissions):
            raise BlobError(
                403,
                "AuthorizationPermissionMismatch",
                "This request is not authorized to perform this operation using this permission: "
                f"{operation.name} takes {' or '.join(allowed) or 'the account key'}, and the token has "
                f"sp={permissions}.",
            )
        headers = token.response_headers()
        if any(not value.isprintable() for value in headers.values()):
            raise unauthenticated("A response header (rscc to rsct) holds characters that no header may.")
        return Grant(not operation.creates or "w" in permissions, headers)

    def _with_policy(self, token: BlobSas, container: str) -> BlobSas:
        """With what the stored access policy that it names adds."""
        if token.is_account or not token.get("si"):
            return token
        policy = self._policies(container).get(token.get("si"))
        if policy is None:
            raise unauthenticated(
                f"There is no stored access policy {token.get('si')[:64]!r} (si) on the container."
            )
        for name, own in (
            ("permission", token.permissions),
            ("expiry", token.expiry),
            ("start", token.start),
        ):
            if policy.get(name) and own:
                raise unauthenticated(
                    f"The token and its stored access policy (si) both say the {name}; one may."
                )
        try:
            start = blob_sas.read_time("st", policy["start"]) if policy.get("start") else token.start
            expiry = blob_sas.read_time("se", policy["expiry"]) if policy.get("expiry") else token.expiry
        except SasProblem as error:
            raise unauthenticated(f"The stored access policy cannot be used: {error}.") from None
        if expiry is None:
            raise unauthenticated("Neither the token nor its stored access policy (si) says an expiry.")
        return replace(
            token, permissions=token.permissions or policy.get("permission", ""), start=start, expiry=expiry
        )

    def _check_time(self, token: BlobSas) -> None:
        now = self._now()
        if token.start is not None and now < token.start:
            raise unauthenticated(
                f"Signature not valid in the specified time frame: it begins in {token.start - now:,.0f} s."
            )
        if token.expiry is None or now >= token.expiry:
            ago = now - (token.expiry or 0)
            raise unauthenticated(
                f"Signature not valid in the specified time frame: it expired {ago:,.0f} s ago."
            )

    @staticmethod
    def _check_peer(token: BlobSas, peer: str) -> None:
        protocols = token.get("spr")
        if protocols and "https" not in protocols.split(","):
            raise BlobError(
                403,
                "AuthorizationProtocolMismatch",
                "This request is not authorized to perform this operation using this protocol.",
            )
        wanted = token.get("sip")
        if not wanted:
            return
        first, _, last = wanted.partition("-")
        try:
            low, at, high = (ipaddress.IPv4Address(each) for each in (first, peer, last or first))
            inside = low <= at <= high
        except ValueError:  # Azure's `sip` is IPv4 alone
            inside = False
        if not inside:
            raise BlobError(
                403,
                "AuthorizationSourceIPMismatch",
                "This request is not authorized to perform this operation using this source IP "
                f"{peer}; the token is for {wanted[:80]}.",
            )

    @staticmethod
    def _check_reach(token: BlobSas, operation: Operation, asked: Asked) -> str:
        """Its permissions, if it is for this service, and a resource of this kind."""
        if token.is_account:
            if "b" not in token.get("ss"):
                raise BlobError(
                    403,
                    "AuthorizationServiceMismatch",
                    "This request is not authorized to perform this operation using this service (ss).",
                )
            if operation.level.value not in token.get("srt"):
                raise BlobError(
                    403,
                    "AuthorizationResourceTypeMismatch",
                    "This request is not authorized to perform this operation using this resource type: "
                    f"{operation.name} needs srt={operation.level.value}.",
                )
        elif not asked.container or (operation.level is Level.CONTAINER and token.get("sr") == "b"):
            raise BlobError(
                403,
                "AuthorizationFailure",
                "This request is not authorized to perform this operation: the token is for "
                f"{'one blob' if token.get('sr') == 'b' else 'one container'}, and {operation.name} is not.",
            )
        return token.permissions
