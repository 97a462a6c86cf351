"""What a peer sent and cannot be read is an error of its own, so that a receiver can count it and go on.

Nothing else may escape a parser of this package, whatever the bytes.
"""


class MalformedError(ValueError):
    """The bytes break the protocol, or a bound of ours; the message says which."""


class TruncatedError(MalformedError):
    """The bytes end too early; on a stream, more of them may still come."""
