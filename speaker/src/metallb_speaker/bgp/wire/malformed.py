"""What a peer sent and the session cannot survive: an error that holds the NOTIFICATION to end with (RFC 4271 section 6).

Nothing else may escape a parser of this package, whatever the bytes. What RFC 7606 lets a session survive is a value, not an error.
"""


class MalformedError(ValueError):
    """The bytes break the protocol. `code`, `subcode` and `data` are those of the NOTIFICATION; the message says what was wrong."""

    def __init__(self, code: int, subcode: int, data: bytes, text: str) -> None:
        super().__init__(text)
        self.code = int(code)
        self.subcode = int(subcode)
        self.data = data
