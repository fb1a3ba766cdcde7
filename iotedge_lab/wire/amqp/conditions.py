"""Error conditions of AMQP 1.0 (part 2, sections 2.8.15 to 2.8.18) and the exception that carries one."""

from __future__ import annotations

from typing import Final

from iotedge_lab.errors import ProtocolViolation, UsageError
from iotedge_lab.wire.amqp.types import Symbol

# 2.8.15, any level
INTERNAL_ERROR: Final = Symbol("amqp:internal-error")
NOT_FOUND: Final = Symbol("amqp:not-found")
UNAUTHORIZED_ACCESS: Final = Symbol("amqp:unauthorized-access")
DECODE_ERROR: Final = Symbol("amqp:decode-error")
RESOURCE_LIMIT_EXCEEDED: Final = Symbol("amqp:resource-limit-exceeded")
NOT_ALLOWED: Final = Symbol("amqp:not-allowed")
INVALID_FIELD: Final = Symbol("amqp:invalid-field")
NOT_IMPLEMENTED: Final = Symbol("amqp:not-implemented")
RESOURCE_LOCKED: Final = Symbol("amqp:resource-locked")
PRECONDITION_FAILED: Final = Symbol("amqp:precondition-failed")
RESOURCE_DELETED: Final = Symbol("amqp:resource-deleted")
ILLEGAL_STATE: Final = Symbol("amqp:illegal-state")
FRAME_SIZE_TOO_SMALL: Final = Symbol("amqp:frame-size-too-small")
# 2.8.16, connection
CONNECTION_FORCED: Final = Symbol("amqp:connection:forced")
FRAMING_ERROR: Final = Symbol("amqp:connection:framing-error")
CONNECTION_REDIRECT: Final = Symbol("amqp:connection:redirect")
# 2.8.17, session
WINDOW_VIOLATION: Final = Symbol("amqp:session:window-violation")
ERRANT_LINK: Final = Symbol("amqp:session:errant-link")
HANDLE_IN_USE: Final = Symbol("amqp:session:handle-in-use")
UNATTACHED_HANDLE: Final = Symbol("amqp:session:unattached-handle")
# 2.8.18, link
DETACH_FORCED: Final = Symbol("amqp:link:detach-forced")
TRANSFER_LIMIT_EXCEEDED: Final = Symbol("amqp:link:transfer-limit-exceeded")
MESSAGE_SIZE_EXCEEDED: Final = Symbol("amqp:link:message-size-exceeded")
LINK_REDIRECT: Final = Symbol("amqp:link:redirect")
LINK_STOLEN: Final = Symbol("amqp:link:stolen")


class AmqpViolation(ProtocolViolation):
    """A breach whose condition is not `amqp:decode-error`; `condition` is what CLOSE will carry."""

    def __init__(self, reason: str, spec: str, condition: Symbol) -> None:
        super().__init__(reason, spec)
        self.condition = condition


class NoCredit(UsageError):
    """`send` was called on a link whose receiver has granted no credit; wait for CreditGranted."""


class NotAttached(UsageError):
    """`send` was called on a link that is not, or no longer, attached; wait for, or heed, its events."""


class WrongState(UsageError):
    """An engine call that makes no sense now; the message says what has to happen before."""


def condition_of(violation: ProtocolViolation) -> Symbol:
    """The error condition to close with: the violation's own, or `amqp:decode-error`."""
    return violation.condition if isinstance(violation, AmqpViolation) else DECODE_ERROR
