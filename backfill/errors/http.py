"""Errors of an HTTP call that got no reply. The adapter that made the call says what they mean."""

from __future__ import annotations

from backfill.errors.base import BackfillError
from backfill.lifecycle import Disposition, ExitCode


class HttpError(BackfillError):
    """An HTTP call got no reply. An adapter says in its own errors what that means."""

    reason = "http"


class HostUnavailable(HttpError):
    """The host cannot be reached or does not answer in time."""

    disposition = Disposition.RELEASE
    exit_code = ExitCode.UNREACHABLE
    reason = "host_unavailable"


class EnvironmentUnusable(HttpError):
    """The proxy or the CA bundle that the environment names cannot be used; correct or unset the variable."""

    exit_code = ExitCode.USAGE
    reason = "proxy"


class ReplyTooLarge(HttpError):
    """The reply is larger than any useful one."""

    reason = "reply_too_large"

    def __init__(self, *, http_status: int) -> None:
        super().__init__()
        self.http_status = http_status
