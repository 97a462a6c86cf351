"""Lease (coordination.k8s.io/v1), by which one of several replicas is elected, and the fields in use."""

import msgspec

from metallb_core.api import meta


class LeaseSpec(meta.Wire, frozen=True):
    """Times are RFC 3339 with microseconds; they are written for people, elections here never compare them with a clock."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(meta.Wire, frozen=True):
    metadata: meta.ObjectMeta
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)
