"""What is still to be gossiped, each message a bounded number of times.

- A message about a member replaces an older one about the same member.
- Those told least often go first; among them the largest that still fits, so that packets fill up.
- The bound grows with the logarithm of the cluster: every member passes on what is news to it.

Facts: hashicorp/memberlist v0.5.1 queue.go; SWIM (Das, Gupta, Motivala 2002) section 4.1.
"""

import math


def transmit_limit(multiplier: int, members: int) -> int:
    """How often one message is sent by one member of a cluster of this size."""
    return multiplier * math.ceil(math.log10(members + 1))


class Broadcasts:
    """The queue. Its length is bounded by the number of members, since each has at most one message in it."""

    def __init__(self) -> None:
        # name -> [times sent, order of arrival, message]; small clusters make a scan cheaper than a tree.
        self._queue: dict[str, tuple[int, int, bytes]] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, name: str) -> bool:
        return name in self._queue

    def put(self, name: str, message: bytes) -> None:
        """Queue the message about `name`, replacing an older one."""
        self._arrivals += 1
        self._queue[name] = (0, self._arrivals, message)

    def take(self, room: int, overhead: int, limit: int) -> list[bytes]:
        """Messages that fit in `room` bytes with `overhead` bytes each, counted as sent once; after `limit` times they go."""
        if not self._queue:
            return []
        taken: list[bytes] = []
        order = sorted(self._queue.items(), key=lambda item: (item[1][0], -len(item[1][2]), -item[1][1]))
        for name, (sent, arrival, message) in order:
            needed = len(message) + overhead
            if needed > room:
                continue
            room -= needed
            taken.append(message)
            if sent + 1 >= limit:
                del self._queue[name]
            else:
                self._queue[name] = (sent + 1, arrival, message)
        return taken
