"""ValidatingWebhookConfiguration (admissionregistration.k8s.io/v1) as we write it, and the kind that owns ours."""

import msgspec

from metallb_core.api import meta


class ServiceReference(meta.Wire, frozen=True):
    namespace: str
    name: str
    path: str | None = None
    port: int | None = None


class ClientConfig(meta.Wire, frozen=True):
    """`ca_bundle` is base64 of PEM."""

    url: str | None = None
    service: ServiceReference | None = None
    ca_bundle: str | None = None


class Rule(meta.Wire, frozen=True):
    api_groups: list[str] | None = None
    api_versions: list[str] | None = None
    operations: list[str] | None = None
    resources: list[str] | None = None
    scope: str | None = None


class ValidatingWebhook(meta.Wire, frozen=True):
    name: str
    client_config: ClientConfig = ClientConfig()
    rules: list[Rule] | None = None
    failure_policy: str | None = None
    match_policy: str | None = None
    side_effects: str | None = None
    timeout_seconds: int | None = None
    admission_review_versions: list[str] | None = None


class ValidatingWebhookConfiguration(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta = msgspec.field(default_factory=meta.ObjectMeta)
    webhooks: list[ValidatingWebhook] | None = None


class ClusterRole(meta.Wire, frozen=True):
    """What a ClusterRole allows is not read."""

    metadata: meta.ObjectMeta
