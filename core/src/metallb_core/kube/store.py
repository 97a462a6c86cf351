"""What an informer has seen: objects by key, and by whatever secondary indexes were asked for.

- One writer, the informer, on the event loop; readers read between two of its steps and see whole objects.
- An index is maintained with each write: looking up costs what it returns, never a pass over the store.
- An index function is pure: for an equal object it gives equal keys, else entries would be left behind.
"""

from collections.abc import Callable, Hashable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Index(Generic[K, V]):
    __slots__ = ("entries", "keys_of")

    def __init__(self, keys_of: Callable[[V], Iterable[Hashable]]) -> None:
        self.keys_of = keys_of
        # A dictionary rather than a set keeps the order of arrival, so that results do not depend on hash seeds.
        self.entries: dict[Hashable, dict[K, None]] = {}

    def insert(self, key: K, index_keys: Iterable[Hashable]) -> None:
        for index_key in index_keys:
            self.entries.setdefault(index_key, {})[key] = None

    def discard(self, key: K, index_keys: Iterable[Hashable]) -> None:
        for index_key in index_keys:
            held = self.entries.get(index_key)
            if held is not None:
                held.pop(key, None)
                if not held:
                    del self.entries[index_key]


class Store(Generic[K, V]):
    """See the module."""

    __slots__ = ("_indexes", "_objects")

    def __init__(self) -> None:
        self._objects: dict[K, V] = {}
        self._indexes: dict[str, _Index[K, V]] = {}

    def get(self, key: K) -> V | None:
        """The object, or None."""
        return self._objects.get(key)

    def keys(self) -> KeysView[K]:
        """All keys, a live view."""
        return self._objects.keys()

    def values(self) -> ValuesView[V]:
        """All objects, a live view."""
        return self._objects.values()

    def items(self) -> ItemsView[K, V]:
        """All pairs, a live view."""
        return self._objects.items()

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def __iter__(self) -> Iterator[K]:
        return iter(self._objects)

    def index(self, name: str, keys_of: Callable[[V], Iterable[Hashable]]) -> None:
        """Add an index: `keys_of` gives the keys under which an object is found. What the store holds already is indexed at once."""
        if name in self._indexes:
            raise ValueError(f"there is an index {name!r} already")
        made: _Index[K, V] = _Index(keys_of)
        for key, value in self._objects.items():
            made.insert(key, keys_of(value))
        self._indexes[name] = made

    def by_index(self, name: str, key: Hashable) -> tuple[V, ...]:
        """The objects under `key` of the index, in order of arrival; a copy, so the store may change meanwhile. KeyError: no such index."""
        held = self._indexes[name].entries.get(key)
        return tuple(self._objects[each] for each in held) if held else ()

    def keys_by_index(self, name: str, key: Hashable) -> tuple[K, ...]:
        """As `by_index`, but their keys in the store."""
        return tuple(self._indexes[name].entries.get(key, ()))

    def index_keys(self, name: str) -> tuple[Hashable, ...]:
        """All keys of the index that have an object."""
        return tuple(self._indexes[name].entries)

    def put(self, key: K, value: V) -> V | None:
        """Insert or replace; gives what was there. For the store's one writer."""
        old = self._objects.get(key)
        self._objects[key] = value
        for index in self._indexes.values():
            after = tuple(index.keys_of(value))
            if old is not None:
                before = tuple(index.keys_of(old))
                if before == after:
                    continue
                index.discard(key, before)
            index.insert(key, after)
        return old

    def remove(self, key: K) -> V | None:
        """Take out; gives what was there. For the store's one writer."""
        old = self._objects.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index.discard(key, index.keys_of(old))
        return old
