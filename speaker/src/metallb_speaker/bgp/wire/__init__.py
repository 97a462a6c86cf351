"""The BGP-4 codec: RFC 4271 and what a speaker of unicast routes needs of its extensions.

PURE: bytes in, values out, and back. What a peer sends wrongly is either `malformed.MalformedError`, which holds the NOTIFICATION that the
session must end with, or a value: an UPDATE that counts as a withdrawal, an attribute that was dropped (RFC 7606). Nothing else is raised
for any bytes. ValueError of another kind means that our side asked for a message that cannot be written.

- `messages`: every message, `parse` and `serialise`; `framing.Reader` takes them from a stream.
- `updates`: packing many routes into few messages.
"""
