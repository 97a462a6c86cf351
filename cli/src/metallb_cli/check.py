"""PURE. Files of custom resources, judged without a cluster: schema first, then the rules of loading, over all of them together.

An object that its schema refuses is not judged further. Objects of other groups are none of our business and are passed over. A name that
nothing here answers to is worth a warning, once all else is in order: what it names may be in the cluster already.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec

from metallb_cli import documents, schema
from metallb_core.api import crd, v1beta1
from metallb_core.config import admission, compiled, references


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. `kind` and `name` are empty where not even those can be read."""

    file: str
    line: int
    kind: str
    name: str
    field: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How many objects of ours there are, and what is wrong, or may be, in the order of files and lines."""

    objects: int
    problems: list[Finding]
    warnings: list[Finding]


# What MetalLB had before it split this kind in two, and users' files still have.
_FORMER = {"AddressPool": "write an IPAddressPool, and an L2Advertisement or a BGPAdvertisement for it"}


def check(read: Iterable[documents.Document | documents.Unreadable]) -> Report:
    """Judge all of them together."""
    found: list[Finding] = []
    good: dict[str, list[Any]] = {}
    places: dict[tuple[str, str], documents.Document] = {}
    seen = 0
    for each in read:
        if isinstance(each, documents.Unreadable):
            found.append(
                Finding(file=each.file, line=each.line, kind="", name="", field=each.field, detail=each.detail)
            )
            continue
        if not _is_ours(each):
            continue
        seen += 1
        wrong = list(_by_schema(each))
        found += wrong
        kind, name = _kind(each), _name(each)
        wire = admission.WIRES.get(kind)
        if wrong or wire is None:
            continue
        if (kind, name) in places:
            first = places[kind, name]
            told = f"the same {kind} is in {first.file}:{first.line('')}; remove one of the two"
            found.append(_finding(each, "metadata.name", told))
            continue
        places[kind, name] = each
        good.setdefault(admission.FIELDS[kind], []).append(msgspec.convert(each.value, wire))
    whole = compiled.Resources(**{name: tuple(objects) for name, objects in good.items()})
    for problem in compiled.compile(whole, references=False).problems:
        found.append(_finding(places[problem.kind, problem.name], problem.field, str(problem.refusal)))
    named = [] if found else references.dangling(whole)
    warnings = [_finding(places[each.kind, each.name], *each.text.split(": ", 1)) for each in named]
    return Report(objects=seen, problems=_sorted(found), warnings=_sorted(warnings))


def _sorted(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: (finding.file, finding.line, finding.field))


def _is_ours(document: documents.Document) -> bool:
    if not isinstance(document.value, dict):
        return False
    if "apiVersion" not in document.value:
        return _kind(document) in admission.WIRES
    return str(document.value["apiVersion"]).partition("/")[0] == v1beta1.GROUP


def _by_schema(document: documents.Document) -> Iterable[Finding]:
    kind, version = _kind(document), _version(document)
    known = next((each for each in crd.KINDS if each.name == kind), None)
    if known is None:
        names = ", ".join(each.name for each in crd.KINDS)
        known_as = _FORMER.get(kind, f"there are {names}")
        said = f"there is no kind {kind!r} in {v1beta1.GROUP}" if kind else "an object needs a kind"
        yield _finding(document, "kind", f"{said}; {known_as}")
        return
    served = {each["name"]: each for each in crd.definition(known)["spec"]["versions"]}
    if version not in served:
        said = f"{kind} has no version {version!r}" if version else "an object needs an apiVersion"
        yield _finding(document, "apiVersion", f"{said}; write {v1beta1.GROUP}/{max(served)}")
        return
    schemas = {name: each["schema"]["openAPIV3Schema"] for name, each in served.items()}
    for path, detail in schema.problems(document.value, schemas[version]):
        newest = max(schemas)
        newer = version != newest and schema.takes(schemas[newest], path) and not schema.takes(schemas[version], path)
        yield _finding(
            document, path, f"is a field of {newest} alone; write {v1beta1.GROUP}/{newest}" if newer else detail
        )
    if not _name(document):
        yield _finding(document, "metadata.name", "an object needs a name")


def _finding(document: documents.Document, field: str, detail: str) -> Finding:
    return Finding(
        file=document.file,
        line=document.line(field),
        kind=_kind(document),
        name=_name(document),
        field=field,
        detail=detail,
    )


def _kind(document: documents.Document) -> str:
    return str(document.value.get("kind", ""))


def _name(document: documents.Document) -> str:
    metadata = document.value.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _version(document: documents.Document) -> str:
    return str(document.value.get("apiVersion", "")).partition("/")[2]
