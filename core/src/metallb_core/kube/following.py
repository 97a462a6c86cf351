"""Informers that tell of their troubles in the log: once when one begins, once when it is over, and of each object that cannot be read.

That one is over is told to others too (`on_recovered`): what failed in an outage need not wait for its turn to be tried again.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

from metallb_core.kube import client as clients
from metallb_core.kube import informer, resources
from metallb_core.runtime import clock, log

Wire = TypeVar("Wire", bound=resources.Object)
Key = TypeVar("Key", bound=Hashable)
Obj = TypeVar("Obj")


def follow(
    client: clients.Client,
    resource: resources.Resource[Wire, Key, Obj],
    *,
    on_change: Callable[[Key, Obj | None, Obj | None], None],
    clock: clock.Clock,
    logger: log.Logger,
    namespace: str | None = None,
    label_selector: str | None = None,
    field_selector: str | None = None,
    on_recovered: Callable[[], None] | None = None,
) -> informer.Informer[Wire, Key, Obj]:
    """An informer of `resource` that complains to `logger`; the rest as for Informer."""

    def problem(text: str | None) -> None:
        if text is None:
            logger.info("followed again", resource=resource.label)
            if on_recovered is not None:
                on_recovered()
        else:
            logger.warn("cannot be followed; what is known stays in force", resource=resource.label, problem=text)

    def invalid(key: Key, text: str) -> None:
        name = "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
        logger.error(
            "an object cannot be read; its last readable form stays in force",
            resource=resource.label,
            name=name,
            problem=text,
        )

    return informer.Informer(
        client,
        resource,
        on_change=on_change,
        on_problem=problem,
        on_invalid=invalid,
        namespace=namespace,
        label_selector=label_selector,
        field_selector=field_selector,
        clock=clock,
    )
