"""Which keys encrypt membership, and how a changed Secret becomes the new key without a member being cut off.

Nodes see a changed Secret at different times, up to a minute or two apart. So a new key is first only accepted, then used, and the old one
stops being accepted last; each phase is longer than the Secret needs to reach every node.

A speaker that starts meanwhile knows only the new key. Who accepts it answers it with it (`membership.encryption`) and speaks for it to those
that do not yet. Before the first of them does, within the time that the Secret needs to reach a node, it is alone: the old key is nowhere that
it could be had from, and waiting for others with an unknown key could be waiting for ever.

Plain text is what an empty Secret means, and counts as a key here: a Secret that is filled later is phased in like any other change. The other
way round an emptied Secret changes nothing, for taking encryption away must not be that easy; restart all speakers for it.
"""

import pathlib

from metallb_speaker.membership import encryption

PHASE_SECONDS = 180.0
PLAIN = encryption.PLAIN


def read(folder: pathlib.Path) -> bytes:
    """The key in `folder`/secretkey; PLAIN for an empty file, which means plain text. Raises OSError."""
    secret = (folder / "secretkey").read_bytes()
    return encryption.derive_key(secret) if secret else PLAIN


class Rotation:
    """The keys in force at a time, the one that encrypts first. `now` is in seconds, from any start."""

    def __init__(self, key: bytes) -> None:
        self._current = key
        self._next: bytes | None = None
        self._since = 0.0

    def observe(self, key: bytes, now: float) -> None:
        """The Secret holds `key` now. Taking a change back while it is only accepted cancels it."""
        if self._next is not None and now - self._since >= 2 * PHASE_SECONDS:
            self._current, self._next = self._next, None
        if key == PLAIN != self._current:
            return
        if key == self._current and (self._next is None or now - self._since < PHASE_SECONDS):
            self._next = None
        elif key not in (self._current, self._next):
            if self._next is not None and now - self._since >= PHASE_SECONDS:
                self._current = self._next
            self._next, self._since = key, now

    def keys(self, now: float) -> tuple[bytes, ...]:
        """The keys in force."""
        if self._next is None:
            return (self._current,)
        age = now - self._since
        if age < PHASE_SECONDS:
            return (self._current, self._next)
        if age < 2 * PHASE_SECONDS:
            return (self._next, self._current)
        return (self._next,)
