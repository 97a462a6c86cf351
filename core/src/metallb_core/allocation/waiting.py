"""Which Services wait for a pool to change, the oldest first, so that a freed address goes to whoever waits longest."""

from collections.abc import Iterable

from metallb_core.domain import services


class Waiting:
    """Services by the pools they wait for. One that waits for None waits for other configuration: a freed address cannot help it."""

    def __init__(self) -> None:
        self._since: dict[services.ServiceKey, str] = {}
        self._wanted: dict[services.ServiceKey, frozenset[str] | None] = {}
        self._by_pool: dict[str, set[services.ServiceKey]] = {}

    def __len__(self) -> int:
        return len(self._wanted)

    def __contains__(self, key: services.ServiceKey) -> bool:
        return key in self._wanted

    def put(self, key: services.ServiceKey, since: str, wanted: frozenset[str] | None) -> None:
        """The Service, created at `since`, waits for these pools, for other configuration (None), or for nothing (empty)."""
        if key in self._wanted and self._wanted[key] == wanted:
            return
        self.remove(key)
        if wanted is not None and not wanted:
            return
        self._since[key] = since
        self._wanted[key] = wanted
        for name in wanted or ():
            self._by_pool.setdefault(name, set()).add(key)

    def remove(self, key: services.ServiceKey) -> None:
        """The Service waits for nothing any more."""
        if key not in self._wanted:
            return
        for name in self._wanted.pop(key) or ():
            held = self._by_pool[name]
            held.discard(key)
            if not held:
                del self._by_pool[name]
        del self._since[key]

    def for_pools(self, names: Iterable[str]) -> list[services.ServiceKey]:
        """Those that wait for one of these pools, the oldest first."""
        found: set[services.ServiceKey] = set()
        for name in names:
            found |= self._by_pool.get(name, set())
        return sorted(found, key=lambda key: (self._since[key], key))

    def all(self) -> list[services.ServiceKey]:
        """All that wait, the oldest first."""
        return sorted(self._wanted, key=lambda key: (self._since[key], key))
