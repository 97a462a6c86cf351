"""Other people's BFD daemons in a network namespace, for tests and benchmarks: FRR's bfdd and BIRD, from Debian's packages.

- Everything a daemon writes is in a directory of its own below /tmp, which goes with it. Daemons are stopped by their process ids.
- FRR's daemons run as the user that their package made; they refuse root.
- bfdd knows links and VRFs only through zebra, so that runs too; it changes nothing, for nothing asks it to.
"""

import json
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence

from bench import pair

FRR = pathlib.Path("/usr/lib/frr")
BIRD = pathlib.Path("/usr/sbin/bird")
_START_SECONDS = 15.0


def _start(where: pair.Namespace, command: Sequence[str], log: pathlib.Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{where.name}", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _directory() -> pathlib.Path:
    made = pathlib.Path(tempfile.mkdtemp(prefix="bfd-peer-"))
    made.chmod(0o755)
    return made


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)
    processes.clear()


class Bfdd:
    """FRR's bfdd. `peers` is what stands in its `bfd` node: a list of (peer line, settings)."""

    def __init__(self, where: pair.Namespace, peers: Sequence[tuple[str, Sequence[str]]]) -> None:
        self._where = where
        self._directory = directory = _directory()
        shutil.chown(directory, "frr", "frr")
        self._processes: list[subprocess.Popen[bytes]] = []
        lines = ["bfd"]
        for peer, settings in peers:
            lines += [f" peer {peer}", *(f"  {each}" for each in settings), "  no shutdown", " exit", " !"]
        (directory / "bfdd.conf").write_text("\n".join([*lines, "exit", ""]))
        (directory / "zebra.conf").write_text("")
        try:
            self._run("zebra")
            self._wait_for(directory / "zserv.api")
            self._run("bfdd", "--bfdctl", str(directory / "bfdd.sock"))
            self._wait_for(directory / "bfdd.vty")
        except BaseException:
            self.close()
            raise

    def _run(self, name: str, *options: str) -> None:
        here = self._directory
        command = [
            str(FRR / name), "-P", "0", "-f", str(here / f"{name}.conf"), "-i", str(here / f"{name}.pid"),
            "-z", str(here / "zserv.api"), "--vty_socket", str(here), "--log", "stdout", *options,
        ]  # fmt: skip
        self._processes.append(_start(self._where, command, here / f"{name}.log"))

    def _wait_for(self, path: pathlib.Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not path.exists():
            if time.monotonic() > deadline or self._processes[-1].poll() is not None:
                logs = "".join(each.read_text(errors="replace") for each in self._directory.glob("*.log"))
                raise RuntimeError(f"{path.name} does not appear: {logs}")
            time.sleep(0.02)

    def ask(self, *commands: str) -> str:
        """What vtysh answers to the commands."""
        arguments = [word for command in commands for word in ("-c", command)]
        return pair.run("vtysh", "--vty_socket", str(self._directory), *arguments)

    def peers(self) -> list[dict[str, object]]:
        """`show bfd peers json`."""
        found: list[dict[str, object]] = json.loads(self.ask("show bfd peers json"))
        return found

    def counters(self) -> list[dict[str, object]]:
        """`show bfd peers counters json`."""
        found: list[dict[str, object]] = json.loads(self.ask("show bfd peers counters json"))
        return found

    def close(self) -> None:
        """Stop it, with no word to its peers."""
        for process in self._processes:
            process.kill()
        _stop(self._processes)
        shutil.rmtree(self._directory, ignore_errors=True)


class Bird:
    """BIRD with the BFD protocol. `configuration` is the text of its file but for logging, router id and the protocol `device`."""

    def __init__(self, where: pair.Namespace, configuration: str) -> None:
        self._directory = directory = _directory()
        self._socket = directory / "bird.ctl"
        file = directory / "bird.conf"
        file.write_text(f"log stderr all;\nrouter id 192.0.2.1;\nprotocol device {{}}\n{configuration}\n")
        self._processes = [
            _start(where, [str(BIRD), "-f", "-c", str(file), "-s", str(self._socket)], directory / "bird.log")
        ]
        deadline = time.monotonic() + _START_SECONDS
        while not self._socket.exists():
            if time.monotonic() > deadline or self._processes[0].poll() is not None:
                log = (directory / "bird.log").read_text(errors="replace")
                self.close()
                raise RuntimeError(f"BIRD does not start: {log}")
            time.sleep(0.02)

    def ask(self, command: str) -> str:
        """What birdc answers."""
        return pair.run("birdc", "-s", str(self._socket), command)

    def sessions(self) -> dict[str, str]:
        """State by peer address: `show bfd sessions`."""
        found: dict[str, str] = {}
        for line in self.ask("show bfd sessions").splitlines():
            words = line.split()
            if len(words) >= 6 and words[0][0].isalnum() and words[2] in ("AdminDown", "Down", "Init", "Up"):
                found[words[0]] = words[2]
        return found

    def close(self) -> None:
        """Stop it."""
        _stop(self._processes)
        shutil.rmtree(self._directory, ignore_errors=True)
