"""pyroute2's decoders of link and address messages, and nothing else of it.

Importing the package imports all of its parts, 13 MB on every node; the two decoders need a third of that. So they are imported from under a
stand-in for the package, which is gone again afterwards: whoever imports pyroute2 later gets the whole of it.
"""

import importlib
import importlib.util
import sys
import types
from typing import Any


def _import(*names: str) -> list[Any]:
    present = sys.modules.get("pyroute2")
    if present is None:
        found = importlib.util.find_spec("pyroute2")
        if found is None or found.submodule_search_locations is None:
            raise ImportError("pyroute2 is not installed")
        stand_in = types.ModuleType("pyroute2")
        stand_in.__path__ = list(found.submodule_search_locations)
        sys.modules["pyroute2"] = stand_in
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        if present is None:
            del sys.modules["pyroute2"]


_links, _addresses = _import("pyroute2.netlink.rtnl.ifinfmsg", "pyroute2.netlink.rtnl.ifaddrmsg")


def link_message(data: bytes) -> Any:
    """An undecoded RTM_NEWLINK or RTM_DELLINK message."""
    return _links.ifinfmsg(data)


def address_message(data: bytes) -> Any:
    """An undecoded RTM_NEWADDR or RTM_DELADDR message."""
    return _addresses.ifaddrmsg(data)
