#!/usr/bin/env python3
"""Build, or find, the Go programs that the tests and the lab run.

    python3 hack/tools/build.py                                 everything that tests need
    python3 hack/tools/build.py etcd kubernetes/kube-apiserver  only these
    python3 hack/tools/build.py --path etcd                     build if needed, then print the directories, one a line
    python3 hack/tools/build.py --env                           the same as shell assignments (PATH, HELM_PLUGINS)
    python3 hack/tools/build.py --list                          what exists already, and where; builds nothing

Rules:
- Every program is pinned by a `go.mod` in a folder of its own beside this file; nothing here names a version twice.
- A result lives outside the checkout, under `<cache>/<tool>/<version>-<hash of go.mod, go.sum and sources>/`, so a
  clean checkout costs nothing and a changed pin can never be served from the cache.
- A program is complete the moment its file exists: it is built beside its place and renamed. A lock for each tool
  makes two builds at once into one build and one short wait.
- The programs of one tool compile in one `go build`, because they share most of their packages.
- A program in `$KUBEBUILDER_ASSETS` is used instead of building only when it reports the pinned minor version.
- Only the standard library is imported: this runs before any virtual environment exists.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD_TIMEOUT_SECONDS = 3600.0
"""A build that has not finished by then is stuck: the slowest cold one took eight minutes on two busy cores."""
PROGRESS_SECONDS = 15.0


class BuildError(Exception):
    """A program could not be built. The message names the tool and carries the compiler's last lines."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One executable: the package that `go build` gets, and the seconds that a cold build took on two cores."""

    package: str
    cold_seconds: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A folder with a `go.mod`, the module that versions it, and the executables it yields by file name.

    `on_demand`: built only when it is named; `make test` needs none of it.
    `data`: files of modules that are kept beside the programs: file name -> module, and path in it.
    """

    name: str
    module: str | None
    programs: dict[str, Program]
    plugin_manifest: bool = False
    on_demand: bool = False
    data: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return HERE / self.name


def _kubernetes(name: str, cold_seconds: int) -> tuple[str, Program]:
    return name, Program(package=f"k8s.io/kubernetes/cmd/{name}", cold_seconds=cold_seconds)


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            name="kubernetes",
            module="k8s.io/kubernetes",
            programs=dict(
                (
                    _kubernetes("kube-apiserver", 200),
                    _kubernetes("kube-controller-manager", 60),
                    _kubernetes("kube-scheduler", 20),
                    _kubernetes("kube-proxy", 15),
                    _kubernetes("kubelet", 60),
                    _kubernetes("kubectl", 20),
                )
            ),
        ),
        Tool(
            name="etcd",
            module="go.etcd.io/etcd/server/v3",
            programs={"etcd": Program(package=".", cold_seconds=60)},
        ),
        Tool(
            name="helm",
            module="helm.sh/helm/v3",
            programs={"helm": Program(package="helm.sh/helm/v3/cmd/helm", cold_seconds=120)},
        ),
        Tool(
            name="helm-unittest",
            module="github.com/helm-unittest/helm-unittest",
            programs={
                "plugins/unittest/untt": Program(
                    package="github.com/helm-unittest/helm-unittest/cmd/helm-unittest", cold_seconds=60
                )
            },
            plugin_manifest=True,
        ),
        Tool(
            name="ct",
            module="github.com/helm/chart-testing/v3",
            programs={"ct": Program(package="github.com/helm/chart-testing/v3/ct", cold_seconds=40)},
        ),
        Tool(
            name="memberlist",
            module="github.com/hashicorp/memberlist",
            programs={"memberlist": Program(package=".", cold_seconds=10)},
        ),
        Tool(
            name="gobgp",
            module="github.com/osrg/gobgp/v3",
            programs={"gobgp-peer": Program(package=".", cold_seconds=15)},
        ),
        Tool(
            name="syft",
            module="github.com/anchore/syft",
            programs={"syft": Program(package="github.com/anchore/syft/cmd/syft", cold_seconds=240)},
            on_demand=True,
        ),
        Tool(
            name="flux",
            module="github.com/fluxcd/helm-controller",
            programs={
                "helm-controller": Program(package="github.com/fluxcd/helm-controller", cold_seconds=240),
                "source-controller": Program(package="github.com/fluxcd/source-controller", cold_seconds=220),
            },
            on_demand=True,
            data={
                f"{kind}.yaml": (module, f"config/crd/bases/{group}.toolkit.fluxcd.io_{kind}.yaml")
                for group, module, kinds in (
                    ("helm", "github.com/fluxcd/helm-controller", "helmreleases"),
                    (
                        "source",
                        "github.com/fluxcd/source-controller",
                        "buckets externalartifacts gitrepositories helmcharts helmrepositories ocirepositories",
                    ),
                )
                for kind in kinds.split()
            },
        ),
        Tool(
            name="argocd",
            module="github.com/argoproj/argo-cd/v3",
            programs={
                "argocd": Program(package="github.com/argoproj/argo-cd/v3/cmd", cold_seconds=300),
                "cache-server": Program(package=".", cold_seconds=5),
            },
            on_demand=True,
            data={"core-install.yaml": ("github.com/argoproj/argo-cd/v3", "manifests/core-install.yaml")},
        ),
        Tool(
            name="pause",
            module=None,
            programs={"pause": Program(package=".", cold_seconds=2)},
        ),
    )
}


def cache_root() -> Path:
    """The directory that outlives checkouts: `$METALLB_TOOLS_CACHE`, or `metallb-tools` in the user's cache."""
    named = os.environ.get("METALLB_TOOLS_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metallb-tools"


def pinned_version(tool: Tool) -> str:
    """The version of the tool's module in its `go.mod`, as written there (`v1.34.4`)."""
    text = (tool.folder / "go.mod").read_text()
    if tool.module is None:
        return "local"
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(tool.module)}\s+(v\S+)", text, re.MULTILINE)
    if found is None:
        raise BuildError(f"{tool.name}: go.mod does not require {tool.module}")
    return found.group(1)


def directory(tool: Tool) -> Path:
    """Where the tool's programs are installed. The path changes with any byte of its pins or sources."""
    digest = hashlib.sha256()
    for path in sorted(tool.folder.iterdir()):
        if path.name in ("go.mod", "go.sum") or path.suffix == ".go":
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return cache_root() / tool.name / f"{pinned_version(tool)}-{digest.hexdigest()[:12]}"


def exists(tool: Tool) -> bool:
    """Whether the tool's folder holds a module at all."""
    return (tool.folder / "go.mod").is_file()


def installed(tool: Tool, program: str) -> Path | None:
    """The program's path when it can be run without building: in the cache, or in `$KUBEBUILDER_ASSETS`."""
    path = directory(tool) / program
    if os.access(path, os.X_OK):
        return path
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / program, os.X_OK):
        candidate = Path(assets) / program
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            arguments = ["version", "--client"] if program == "kubectl" else ["--version"]
            said = subprocess.run(
                [candidate, *arguments], capture_output=True, text=True, timeout=30, check=False
            ).stdout
            reported = re.search(r"v?(\d+)\.(\d+)\.\d+", said)
            wanted = re.match(r"v(\d+)\.(\d+)\.", pinned_version(tool))
            if reported and wanted and reported.groups() == wanted.groups():
                return candidate
    return None


def _linker_flags(tool: Tool) -> str:
    flags = "-s -w"
    if tool.name == "kubernetes":
        version = pinned_version(tool)
        major, minor = version.lstrip("v").split(".")[:2]
        package = "k8s.io/component-base/version"
        flags += f" -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        flags += f" -X {package}.gitTreeState=clean"
    return flags


def _plugin_manifest(tool: Tool) -> str:
    """Helm's description of the plugin: the name makes the sub-command `helm unittest`."""
    return (
        "name: unittest\n"
        f'version: "{pinned_version(tool).lstrip("v")}"\n'
        "usage: test a chart's templates\n"
        "description: test a chart's templates against expectations written in YAML\n"
        "ignoreFlags: false\n"
        'command: "$HELM_PLUGIN_DIR/untt"\n'
    )


@contextlib.contextmanager
def _locked(path: Path, label: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel drops it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"  {label}: another build is running, waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _compile(tool: Tool, wanted: Sequence[str], remaining_after: int) -> None:
    """Run one `go build` for the wanted programs and install each by rename."""
    go = shutil.which("go") or ("/usr/local/go/bin/go" if Path("/usr/local/go/bin/go").exists() else None)
    if go is None:
        raise BuildError(f"{tool.name}: the Go compiler is needed (https://go.dev/dl/), and `go` is not on PATH")
    target = directory(tool)
    target.mkdir(parents=True, exist_ok=True)
    estimate = sum(tool.programs[name].cold_seconds for name in wanted)
    label = f"{tool.name} {pinned_version(tool)}"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=target, prefix=".building-") as scratch, tempfile.TemporaryFile() as log:
        # With several packages `go build -o DIR` names each file after its package's last element.
        command = [go, "build", "-trimpath", "-ldflags", _linker_flags(tool), "-o", f"{scratch}/"]
        command += [tool.programs[name].package for name in wanted]
        # Beside GOPATH caches nothing of the caller's Go settings may change the result.
        environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GO111MODULE": "on"}
        environment.pop("GOFLAGS", None)
        environment["GOFLAGS"] = "-mod=readonly -buildvcs=false"
        names = ", ".join(Path(name).name for name in wanted)
        print(f"  {label}: building {names} (cold: about {estimate} s)", file=sys.stderr, flush=True)
        process = subprocess.Popen(command, cwd=tool.folder, env=environment, stdout=log, stderr=log)
        try:
            while True:
                try:
                    status = process.wait(PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    elapsed = time.monotonic() - started
                    if elapsed > BUILD_TIMEOUT_SECONDS:
                        raise BuildError(f"{label}: not built within {BUILD_TIMEOUT_SECONDS:.0f} s") from None
                    left = max(0.0, estimate - elapsed) + remaining_after
                    print(
                        f"  {label}: {elapsed:.0f} s elapsed, at most about {left:.0f} s remain for all",
                        file=sys.stderr,
                        flush=True,
                    )
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if status != 0:
            log.seek(0)
            tail = log.read().decode(errors="replace").strip().splitlines()[-15:]
            raise BuildError(f"{label}: go build failed\n    " + "\n    ".join(tail))
        for name, (module, path) in tool.data.items():
            # Before the programs, whose presence says that everything is there.
            said = subprocess.run(
                [go, "mod", "download", "-json", module],
                cwd=tool.folder,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            shutil.copyfile(Path(json.loads(said)["Dir"]) / path, target / name)
        for name in wanted:
            built = Path(scratch) / _output_name(tool, tool.programs[name])
            destination = target / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            if tool.plugin_manifest:
                manifest = Path(scratch) / "plugin.yaml"
                manifest.write_text(_plugin_manifest(tool))
                manifest.rename(destination.parent / "plugin.yaml")
            built.rename(destination)
    print(f"  {label}: built in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _output_name(tool: Tool, program: Program) -> str:
    """The file name that `go build` chooses: the last element of the package, skipping a `/v3`."""
    if program.package != ".":
        return program.package.rsplit("/", 1)[1]
    module = re.search(r"^module\s+(\S+)", (tool.folder / "go.mod").read_text(), re.MULTILINE)
    if module is None:
        raise BuildError(f"{tool.name}: go.mod has no module line")
    return module.group(1).rsplit("/", 1)[1]


def resolve(names: Sequence[str]) -> list[tuple[Tool, list[str]]]:
    """Turn `tool` and `tool/program` into the programs of each tool, in the order of TOOLS."""
    chosen: dict[str, list[str]] = {}
    for name in names:
        tool_name, _, program = name.partition("/")
        tool = TOOLS.get(tool_name)
        if tool is None:
            raise BuildError(f"{name}: no such tool; there are {', '.join(TOOLS)}")
        if not exists(tool):
            raise BuildError(f"{name}: {tool.folder} has no go.mod")
        matching = [known for known in tool.programs if not program or Path(known).name == program]
        if not matching:
            raise BuildError(f"{name}: no such program; {tool_name} has {', '.join(tool.programs)}")
        chosen.setdefault(tool_name, []).extend(matching)
    return [(TOOLS[name], list(dict.fromkeys(chosen[name]))) for name in TOOLS if name in chosen]


def ensure(*names: str) -> dict[str, Path]:
    """Build what is missing of `names` (everything but what is on demand, when empty); program name -> executable.

    Quiet when all of it exists. Raises BuildError.
    """
    jobs = resolve(names or [name for name, tool in TOOLS.items() if exists(tool) and not tool.on_demand])
    found: dict[str, Path] = {}
    seconds_left = sum(
        tool.programs[program].cold_seconds
        for tool, programs in jobs
        for program in programs
        if installed(tool, program) is None
    )
    for tool, programs in jobs:
        missing = [program for program in programs if installed(tool, program) is None]
        if missing:
            with _locked(cache_root() / tool.name / ".lock", tool.name):
                # Another process may have built them while this one waited for the lock.
                still_missing = [program for program in missing if installed(tool, program) is None]
                seconds_left -= sum(tool.programs[program].cold_seconds for program in missing)
                if still_missing:
                    _compile(tool, still_missing, seconds_left)
        for program in programs:
            path = installed(tool, program)
            if path is None:
                raise BuildError(f"{tool.name}: {program} is missing after the build")
            found[Path(program).name] = path
    return found


def program(name: str) -> Path:
    """The executable of one program, for example `etcd` or `kubernetes/kubectl`; builds it when it is missing."""
    return ensure(name)[Path(resolve([name])[0][1][0]).name]


def _directories(found: dict[str, Path]) -> list[Path]:
    return list(dict.fromkeys(path.parent for path in found.values()))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0 when everything asked for exists at the end."""
    parser = argparse.ArgumentParser(
        prog="python3 hack/tools/build.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    on_demand = ", ".join(name for name, tool in TOOLS.items() if tool.on_demand)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"tool or tool/program, of {', '.join(TOOLS)}; when left out all but those that are built on demand ({on_demand})",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--path", action="store_true", help="print the directories of the programs")
    group.add_argument("--env", action="store_true", help="print shell assignments for PATH and HELM_PLUGINS")
    group.add_argument("--list", action="store_true", help="print what exists; build nothing")
    options = parser.parse_args(argv)
    try:
        resolve(options.names)
    except BuildError as error:
        parser.error(str(error))
    try:
        if options.list:
            for tool, programs in resolve(options.names or [name for name, tool in TOOLS.items() if exists(tool)]):
                for known in programs:
                    print(f"{tool.name}/{Path(known).name}\t{installed(tool, known) or 'not built'}")
            return 0
        found = ensure(*options.names)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.path:
        print("\n".join(str(path) for path in _directories(found)))
    if options.env:
        print(f'export PATH="{":".join(str(path) for path in _directories(found))}:$PATH"')
        if "untt" in found:
            print(f'export HELM_PLUGINS="{found["untt"].parent.parent}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
