"""The Secret with the key that speakers encrypt their gossip with: made once, never changed.

Owned by the Deployment, so that uninstalling removes it. A Secret that is there, whatever it holds, is its owner's business.
"""

import base64
from collections.abc import Callable

from metallb_core.kube import client as clients
from metallb_core.kube import errors, resources
from metallb_core.runtime import log

LOG = log.get("memberlist-secret")
KEY = "secretkey"
KEY_BYTES = 16


def secret_text(random_bytes: bytes) -> str:
    """The key as text: unpadded base64, as MetalLB writes it."""
    return base64.b64encode(random_bytes).rstrip(b"=").decode()


def manifest(namespace: str, name: str, deployment: str, deployment_uid: str, text: str) -> dict[str, object]:
    """The Secret to create."""
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment, "uid": deployment_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
        "data": {KEY: base64.b64encode(text.encode()).decode()},
    }


async def ensure(
    client: clients.Client, namespace: str, name: str, deployment: str, random_bytes: Callable[[int], bytes]
) -> bool:
    """Create the Secret unless it is there; True if this call created it. Raises ApiError, Unreachable."""
    try:
        await client.get(resources.SECRETS, name, namespace)
        return False
    except errors.ApiError as error:
        if not error.not_found:
            raise
    owner = await client.get(resources.DEPLOYMENTS, deployment, namespace)
    body = manifest(namespace, name, deployment, owner.metadata.uid, secret_text(random_bytes(KEY_BYTES)))
    try:
        await client.create(resources.SECRETS, body, namespace)
    except errors.ApiError as error:
        if error.already_exists:
            return False
        raise
    LOG.info("created the key of the speakers' membership", name=f"{namespace}/{name}")
    return True
