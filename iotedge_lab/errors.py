"""One tree of errors. Each says what happened and what to do next, and carries what Azure would answer.

    LabError
    +-- UsageError              our caller's mistake: a wrong argument, a missing file
    |   +-- ConnectionStringError
    |   +-- DataError           a file of the user's that cannot be read as what it should be
    +-- EnvironmentProblem      the machine: a taken port, a full disk, a network file system
    |   +-- PortTaken
    |   +-- StateLocked
    |   +-- HubNotRunning
    |   +-- HubFailed
    +-- ExportRefused           a trained model whose ONNX twin is none, or is too large
    +-- ProtocolViolation       the peer broke MQTT, AMQP or HTTP: its connection is closed, no other
    +-- ServiceError            the documented refusals of an IoT Hub, with HTTP status and error code
        +-- ArgumentInvalid 400004, Unauthorized 401002, ... (see each class)

The six-digit codes are those of "Understand Azure IoT Hub error codes" (learn.microsoft.com, IoT Hub,
troubleshoot-error-codes).
"""

from __future__ import annotations

from typing import ClassVar


class LabError(Exception):
    """The root: `except LabError` catches all that this library raises on purpose."""


class UsageError(LabError):
    """The caller gave something that cannot be used."""


class ConnectionStringError(UsageError):
    """A connection string that lacks a part or holds a malformed one. Never shows the key."""


class DataError(UsageError):
    """A file of the user's cannot be read as what it should be (columns, numbers, encoding)."""


class EnvironmentProblem(LabError):
    """Something about this machine stands in the way; the message says what to do."""


class PortTaken(EnvironmentProblem):
    """A port that the hub needs is held by another process."""


class StateLocked(EnvironmentProblem):
    """Another hub runs on this state folder."""


class HubNotRunning(EnvironmentProblem):
    """No hub answers for this state folder."""


class HubFailed(EnvironmentProblem):
    """The hub process ended or did not become ready; the message carries the end of its log."""


class ExportRefused(LabError):
    """A trained model does not become the ONNX file that it should; no file was written."""


class ProtocolViolation(LabError):
    """The peer sent what its protocol forbids. `spec` names the section that it broke."""

    def __init__(self, reason: str, spec: str = "") -> None:
        super().__init__(f"{reason} [{spec}]" if spec else reason)
        self.reason = reason
        self.spec = spec


class ServiceError(LabError):
    """A refusal as an IoT Hub gives it.

    `status` is the HTTP status, `code` the six-digit error code, `name` the word in the body.
    """

    status: ClassVar[int] = 500
    code: ClassVar[int] = 500001
    name: ClassVar[str] = "ServerError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ArgumentInvalid(ServiceError):
    """400004: a value that the service does not accept."""

    status, code, name = 400, 400004, "ArgumentInvalid"


class ArgumentNull(ArgumentInvalid):
    """400005: something that must be there is left out or null."""

    code, name = 400005, "ArgumentNull"


class RequestTimedOut(ServiceError):
    """400024: what was asked for takes longer than the service gives it."""

    status, code, name = 400, 400024, "RequestTimedOut"


class InvalidConfigurationTargetCondition(ArgumentInvalid):
    """400401: the target condition of a configuration cannot be read, or looks at what it may not."""

    code, name = 400401, "InvalidConfigurationTargetCondition"


class InvalidConfigurationContent(ArgumentInvalid):
    """400402: the content of a configuration or of a deployment does not have the form that it must have."""

    code, name = 400402, "InvalidConfigurationContent"


class CannotModifyImmutableConfigurationContent(ArgumentInvalid):
    """400403: an update brings another content; that of a configuration stays as it was made."""

    code, name = 400403, "CannotModifyImmutableConfigurationContent"


class InvalidConfigurationCustomMetricsQuery(ArgumentInvalid):
    """400404: a custom metric of a configuration is no query."""

    code, name = 400404, "InvalidConfigurationCustomMetricsQuery"


class InvalidProtocolVersion(ServiceError):
    """400001: the api-version is missing, or one that IoT Hub does not have."""

    status, code, name = 400, 400001, "InvalidProtocolVersion"


class Unauthorized(ServiceError):
    """401002: the token is malformed, wrongly signed, or speaks for something else."""

    status, code, name = 401, 401002, "IotHubUnauthorizedAccess"


class AccessDenied(Unauthorized):
    """401003: no token or one that has ended, no such identity, a right that is lacking, another certificate."""

    status, code, name = 401, 401003, "IotHubUnauthorized"


class QuotaExceeded(ServiceError):
    """403002: the hub's quota is used up."""

    status, code, name = 403, 403002, "IotHubQuotaExceeded"


class JobQuotaExceeded(ServiceError):
    """403003: there are as many jobs as there may be."""

    status, code, name = 403, 403003, "JobQuotaExceeded"


class DeviceNotFound(ServiceError):
    """404001: no such device identity."""

    status, code, name = 404, 404001, "DeviceNotFound"


class JobNotFound(ServiceError):
    """404002: no such job."""

    status, code, name = 404, 404002, "JobNotFound"


class ModuleNotFound(ServiceError):
    """404010: no such module identity."""

    status, code, name = 404, 404010, "ModuleNotFound"


class ConfigurationNotFound(ServiceError):
    """404301: no such configuration."""

    status, code, name = 404, 404301, "ConfigurationNotFound"


class DeviceNotOnline(ServiceError):
    """404103: a direct method met a device that is not connected, or not listening for methods."""

    status, code, name = 404, 404103, "DeviceNotOnline"


class GatewayTimeout(ServiceError):
    """504101: a device did not answer a direct method in time."""

    status, code, name = 504, 504101, "GatewayTimeout"


class MaximumQueueDepthExceeded(ServiceError):
    """403004: a device has 50 cloud-to-device messages waiting, the most there may be."""

    status, code, name = 403, 403004, "DeviceMaximumQueueDepthExceeded"


class MaximumActiveFileUploads(ServiceError):
    """403006: a device has 10 uploads of files under way, the most there may be."""

    status, code, name = 403, 403006, "DeviceMaximumActiveFileUploadLimitExceeded"


class MessageLockLost(ServiceError):
    """412002: a message was settled after its lock had ended."""

    status, code, name = 412, 412002, "DeviceMessageLockLost"


class DeviceAlreadyExists(ServiceError):
    """409001: create met an identity of that id."""

    status, code, name = 409, 409001, "DeviceAlreadyExists"


class ModuleAlreadyExists(ServiceError):
    """409301: create met a module identity of that id."""

    status, code, name = 409, 409301, "ModuleAlreadyExistsOnDevice"


class ConfigurationAlreadyExists(ServiceError):
    """409401: create met a configuration of that id, or an update did not say which version it means."""

    status, code, name = 409, 409401, "ConfigurationAlreadyExists"


class JobAlreadyExists(ServiceError):
    """409104: create met a job of that id."""

    status, code, name = 409, 409104, "JobAlreadyExists"


class PreconditionFailed(ServiceError):
    """412001: the etag in If-Match is not the current one."""

    status, code, name = 412, 412001, "PreconditionFailed"


class JobRunPreconditionFailed(ServiceError):
    """412003: a job has ended, and what was asked for needs one that has not."""

    status, code, name = 412, 412003, "JobRunPreconditionFailed"


class MessageTooLarge(ServiceError):
    """413001: a message over the documented size."""

    status, code, name = 413, 413001, "MessageTooLarge"


class TooManyModules(QuotaExceeded):
    """413003: a device has 50 modules, the most there may be."""

    status, code, name = 413, 413003, "TooManyModulesOnDevice"


class ConfigurationCountLimitExceeded(QuotaExceeded):
    """413101: the hub has 100 configurations, the most there may be."""

    status, code, name = 413, 413101, "ConfigurationCountLimitExceeded"


class Throttled(ServiceError):
    """429001: too many at once."""

    status, code, name = 429, 429001, "ThrottlingException"


class TooManyActiveJobs(Throttled):
    """429004: ten jobs are under way, the most there may be at once."""

    code, name = 429004, "ThrottlingMaxActiveJobCountExceeded"


class StoreUnavailable(ServiceError):
    """503001: the hub's store cannot take a write now (a full disk); nothing was acknowledged."""

    status, code, name = 503, 503001, "ServiceUnavailable"


class NotImplementedHere(ServiceError):
    """501: a call of the real service that this hub does not serve; README, "Differences from Azure"."""

    status, code, name = 501, 501001, "NotImplemented"
