"""What can go wrong with a request: the server answered and said no (ApiError), or there was no answer (Unreachable).

After Unreachable nobody knows whether a write took place; handlers read again before they write again.
"""


class ApiError(Exception):
    """The API server refused. `reason` is the machine's word of meta/v1 Status (Conflict, NotFound, Expired...), `message` the person's.

    `retry_after`: seconds the server asked us to wait, if it did.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} ({self.status} {self.reason})"

    @property
    def conflict(self) -> bool:
        """The object is not the one we read: it changed, or, on creation, it is already there (`already_exists`)."""
        return self.status == 409

    @property
    def already_exists(self) -> bool:
        """Somebody created it first."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def not_found(self) -> bool:
        """There is no such object, or no such kind."""
        return self.status == 404

    @property
    def forbidden(self) -> bool:
        """We may not: a rule is missing from our ClusterRole or Role."""
        return self.status == 403

    @property
    def unauthorized(self) -> bool:
        """The server does not know us: our account is gone, or its token is no longer good."""
        return self.status == 401

    @property
    def gone(self) -> bool:
        """The resource version is older than what the server remembers: list again."""
        return self.status == 410

    @property
    def overloaded(self) -> bool:
        """The server sheds load or is not ready; the request was not carried out if it was 429."""
        return self.status in (429, 503)


class Unreachable(Exception):  # noqa: N818 - a state of the world, not a mistake
    """No answer: refused, reset, timed out, TLS failed, or the answer was no answer of an API server. The message says which, and where."""
