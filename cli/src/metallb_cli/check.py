"""PURE. Files of custom resources, judged without a cluster: schema first, then the rules of loading, over all of them together.

An object that its schema refuses is not judged further. Objects of other groups are none of our business and are passed over.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec

from metallb_cli import documents, schema
from metallb_core.api import crd, v1beta1
from metallb_core.config import admission, compiled


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. `kind` and `name` are empty where not even those can be read."""

    file: str
    line: int
    kind: str
    name: str
    field: str
    detail: str


def check(read: Iterable[documents.Document | documents.Unreadable]) -> tuple[int, list[Finding]]:
    """How many objects of ours there are, and what is wrong, in the order of files and lines."""
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
        if not isinstance(each.value, dict) or not str(each.value.get("apiVersion", "")).startswith(v1beta1.GROUP):
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
    for problem in compiled.compile(
        compiled.Resources(**{name: tuple(objects) for name, objects in good.items()})
    ).problems:
        found.append(_finding(places[problem.kind, problem.name], problem.field, str(problem.refusal)))
    return seen, sorted(found, key=lambda finding: (finding.file, finding.line, finding.field))


def _by_schema(document: documents.Document) -> Iterable[Finding]:
    kind, version = _kind(document), _version(document)
    known = next((each for each in crd.KINDS if each.name == kind), None)
    if known is None:
        names = ", ".join(each.name for each in crd.KINDS)
        yield _finding(document, "kind", f"there is no kind {kind!r} in {v1beta1.GROUP}; there are {names}")
        return
    served = {each["name"]: each for each in crd.definition(known)["spec"]["versions"]}
    if version not in served:
        yield _finding(
            document, "apiVersion", f"{kind} has no version {version!r}; write {v1beta1.GROUP}/{max(served)}"
        )
        return
    for path, detail in schema.problems(document.value, served[version]["schema"]["openAPIV3Schema"]):
        yield _finding(document, path, detail)
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
