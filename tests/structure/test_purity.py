"""PURE packages take time, randomness, the host and the network as arguments: they may not import what reads them.

The list of packages is the architecture; adding a package to it is free, taking one out is a change of architecture.
"""

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PURE = (
    "core/src/metallb_core/domain",
    "core/src/metallb_core/api",
    "core/src/metallb_core/config",
    "core/src/metallb_core/allocation",
    "core/src/metallb_core/announcement",
    "controller/src/metallb_controller/admission/kinds.py",
    "controller/src/metallb_controller/admission/review.py",
    "controller/src/metallb_controller/conditions/allocated.py",
    "controller/src/metallb_controller/conditions/announced.py",
    "speaker/src/metallb_speaker/packets",
    "speaker/src/metallb_speaker/membership",
    "speaker/src/metallb_speaker/bfd",
    "speaker/src/metallb_speaker/bgp/wire",
    # Beside these modules the package has the shells that use them.
    "speaker/src/metallb_speaker/bgp/collision.py",
    "speaker/src/metallb_speaker/bgp/fsm.py",
    "speaker/src/metallb_speaker/bgp/machine.py",
    "speaker/src/metallb_speaker/bgp/native/discovery.py",
    "speaker/src/metallb_speaker/bgp/negotiation.py",
    "speaker/src/metallb_speaker/bgp/outputs.py",
    "speaker/src/metallb_speaker/bgp/problems.py",
    "speaker/src/metallb_speaker/bgp/rib_out.py",
    "speaker/src/metallb_speaker/bgp/session.py",
    "speaker/src/metallb_speaker/bgp/timers.py",
)
# Modules of PURE packages that are shells; each package has few, and they are named.
SHELLS = {
    "speaker/src/metallb_speaker/membership/transport.py",
    "speaker/src/metallb_speaker/membership/aead.py",
    "speaker/src/metallb_speaker/bfd/sockets.py",
    "speaker/src/metallb_speaker/bfd/neighbours.py",
    "speaker/src/metallb_speaker/bfd/mirror.py",
    "speaker/src/metallb_speaker/bfd/service.py",
}
IMPURE_STANDARD = {
    "asyncio", "ctypes", "datetime", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "select",
    "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
OURS = {"metallb_core", "metallb_controller", "metallb_speaker"}
ALLOWED_THIRD_PARTY = {"core/src/metallb_core/api": {"msgspec"}}
PURE_OF_CORE = {"domain", "api", "config", "allocation", "announcement"}
LINES_AT_MOST = 600


def modules_of(package: str) -> list[pathlib.Path]:
    """The source files below a package; of a module, itself."""
    path = ROOT / package
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imported_names(source: str) -> set[str]:
    """Dotted names of all modules a source imports, `from a import b` counted as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("package", PURE)
def test_pure_package_imports_nothing_impure(package: str) -> None:
    modules = modules_of(package)
    assert modules, f"{package} has no modules"
    allowed = ALLOWED_THIRD_PARTY.get(package, set())
    for path in modules:
        if str(path.relative_to(ROOT)) in SHELLS:
            continue
        for name in imported_names(path.read_text()):
            top = name.split(".")[0]
            where = f"{path.relative_to(ROOT)} imports {name}"
            assert top not in IMPURE_STANDARD, f"{where}: pass it as an argument instead"
            assert top in sys.stdlib_module_names or top in OURS or top in allowed, (
                f"{where}: no third party in a PURE package"
            )
            if top == "metallb_core":
                assert name.split(".")[1] in PURE_OF_CORE, f"{where}: a PURE package may not lean on a shell"


def test_no_source_module_is_too_long() -> None:
    roots = ("core/src", "controller/src", "speaker/src", "hack")
    long = {
        str(path.relative_to(ROOT)): lines
        for root in roots
        for path in modules_of(root)
        if (lines := len(path.read_text().splitlines())) > LINES_AT_MOST
    }
    assert not long, f"longer than {LINES_AT_MOST} lines: {long}"
