"""What service accounts asked the API server for, from the audit log of a lab, and which rights they have.

Rules:
- A request counts once it was answered; a watch as soon as it began.
- A right is one verb on one resource in one place, the smallest that a role can give. A rule of a role is many of them.
- The names that a rule is limited to belong to the right. The API server takes the name of a list or a watch from its field selector.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PREFIX = "system:serviceaccount:"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answered request. `account` is `namespace:name`; `resource` is what `full_name` writes: `services/status`, say. `at`: seconds since
    the epoch, 0 where the log does not say.
    """

    account: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    reason: str
    at: float = 0.0

    def __str__(self) -> str:
        return f"{self.account}: {self.verb} {self.resource} {self.namespace}/{self.name}: {self.code} {self.reason}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """What an account may do. `namespace` is empty for the whole cluster, `names` is empty for all."""

    account: str
    verb: str
    resource: str
    namespace: str
    names: frozenset[str]

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        names = f" ({', '.join(sorted(self.names))})" if self.names else ""
        return f"{self.account.rpartition(':')[2]}: {self.verb} {self.resource}{names}{where}"

    def serves(self, request: Request) -> bool:
        """Whether the request needs no more than this."""
        return (
            (request.account, request.verb, request.resource) == (self.account, self.verb, self.resource)
            and (not self.namespace or request.namespace == self.namespace)
            and (not self.names or request.name in self.names)
        )

    def includes(self, other: Right) -> bool:
        """Whether the other right gives nothing beyond this one."""
        return (
            (other.account, other.verb, other.resource) == (self.account, self.verb, self.resource)
            and (not self.namespace or other.namespace == self.namespace)
            and (not self.names or (bool(other.names) and other.names <= self.names))
        )


def requests(log: Path) -> Iterator[Request]:
    """The requests for resources in a log of the API server; others (health, versions) are left out."""
    with log.open() as lines:
        for line in lines:
            if not line.endswith("\n"):
                # The API server is writing this one.
                return
            event = json.loads(line)
            regarding = event.get("objectRef")
            if regarding is None or not event["user"]["username"].startswith(PREFIX):
                continue
            yield Request(
                account=event["user"]["username"].removeprefix(PREFIX),
                verb=event["verb"],
                resource=full_name(
                    regarding.get("apiGroup", ""), regarding["resource"], regarding.get("subresource", "")
                ),
                namespace=regarding.get("namespace", ""),
                name=regarding.get("name", ""),
                code=event.get("responseStatus", {}).get("code", 0),
                reason=event.get("annotations", {}).get("authorization.k8s.io/reason", ""),
                at=_moment(event.get("requestReceivedTimestamp", "")),
            )


def _moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0


def full_name(group: str, resource: str, subresource: str = "") -> str:
    name = f"{resource}/{subresource}" if subresource else resource
    return f"{name}.{group}" if group else name


def rights(
    roles: Iterable[Mapping[str, Any]], bindings: Iterable[Mapping[str, Any]], namespace: str
) -> Iterator[Right]:
    """The rights that roles and their bindings (both kinds of each, as the API server lists them) give the accounts of a namespace."""
    rules = {
        (role["kind"], role["metadata"].get("namespace", ""), role["metadata"]["name"]): role.get("rules") or ()
        for role in roles
    }
    for binding in bindings:
        where = binding["metadata"].get("namespace", "")
        named = binding["roleRef"]
        place = where if named["kind"] == "Role" else ""
        for subject in binding.get("subjects") or ():
            if subject["kind"] != "ServiceAccount" or subject.get("namespace") != namespace:
                continue
            account = f"{namespace}:{subject['name']}"
            for rule in rules[named["kind"], place, named["name"]]:
                yield from _of_rule(account, where, rule)


def _of_rule(account: str, where: str, rule: Mapping[str, Any]) -> Iterator[Right]:
    names = frozenset(rule.get("resourceNames") or ())
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule["verbs"]:
                plain, _, subresource = resource.partition("/")
                name = full_name(group, plain, subresource)
                yield Right(account=account, verb=verb, resource=name, namespace=where, names=names)
