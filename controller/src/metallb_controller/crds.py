"""`python -m metallb_controller.crds apply`: bring the custom resource definitions to this version; the chart runs it before an upgrade.

- Helm installs definitions once and never upgrades them; this applies them server-side, and deletes nothing, ever.
- A definition of the group that this version does not bring is marked to be kept, so that a chart that no longer lists it does not take it away,
  and with it every object of that kind.
- MetalLB's definition of BGPPeer converts through a webhook that goes with MetalLB. That ends first: until then the objects cannot be read.
"""

import asyncio
import os
import sys

from metallb_core import version
from metallb_core.api import crd, meta
from metallb_core.kube import client as clients
from metallb_core.kube import connection, errors, resources
from metallb_core.runtime import log

LOG = log.get("crds")


class Conversion(meta.Wire, frozen=True):
    """How versions become each other."""

    strategy: str = "None"


class DefinitionSpec(meta.Wire, frozen=True):
    """Of the spec only that is of interest."""

    conversion: Conversion = Conversion()


class Definition(meta.Wire, frozen=True):
    """Of the server's answer nothing else is of interest."""

    metadata: meta.ObjectMeta
    spec: DefinitionSpec = DefinitionSpec()


DEFINITIONS = resources.cluster_scoped(
    Definition, "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"
)


async def apply(client: clients.Client) -> None:
    """Apply every definition, then protect what other versions brought. Raises ApiError, Unreachable."""
    for definition in crd.definitions():
        name = definition["metadata"]["name"]
        if await _converts_by_webhook(client, name):
            await client.merge_patch(DEFINITIONS, name, None, crd.without_webhook())
            LOG.info("no longer converted by a webhook", definition=name)
        await client.apply(DEFINITIONS, name, None, definition, field_manager=crd.FIELD_MANAGER)
        LOG.info("applied", definition=name)
    for name in crd.OTHER_NAMES:
        try:
            await client.merge_patch(DEFINITIONS, name, None, crd.protection())
        except errors.ApiError as error:
            if not error.not_found:
                raise
        else:
            LOG.info("kept", definition=name)


async def _converts_by_webhook(client: clients.Client, name: str) -> bool:
    try:
        found = await client.get(DEFINITIONS, name)
    except errors.ApiError as error:
        if error.not_found:
            return False
        raise
    return found.spec.conversion.strategy == "Webhook"


async def run() -> int:
    """Apply with this pod's rights; the exit status."""
    place = connection.discover(os.environ.get("KUBECONFIG") or None)
    async with clients.Client(place, user_agent=f"metallb-crds/{version.__version__}") as client:
        try:
            await apply(client)
        except (errors.ApiError, errors.Unreachable) as error:
            LOG.error("the custom resource definitions could not be applied; nothing was deleted", error=error)
            return 1
    return 0


def main() -> int:
    """The entry point."""
    if sys.argv[1:] != ["apply"]:
        sys.stderr.write("usage: python -m metallb_controller.crds apply\n")
        return 2
    log.configure("info")
    return asyncio.run(run())


if __name__ == "__main__":
    raise SystemExit(main())
