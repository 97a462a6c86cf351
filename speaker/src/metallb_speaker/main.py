"""The program: read the settings, open what it needs, run a speaker until asked to stop."""

import asyncio
import os
import pathlib
import sys

from metallb_core import version
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments, ownership, serving
from metallb_core.runtime import clock as clocks
from metallb_core.runtime import log, metrics, settings, tls
from metallb_speaker import flags, gauges, place, speaker
from metallb_speaker.bgp import gauges as bgp_gauges
from metallb_speaker.layer2 import exclusions

LOG = log.get("speaker")
COMPONENT = "metallb-speaker"
OVERRIDE = pathlib.Path("/etc/metallb/memberlist/config.json")
# How long stopping may take beside what settings give to routers and to the next owners of addresses: a router that is slow to take its
# withdrawals, and the ends of connections. The chart's grace period is longer by some seconds.
STOP_SECONDS = 8.0


def settings_of(values: settings.Values, namespace: str) -> place.Place:
    """The speaker's settings. Raises SettingsError and ExclusionError with what to mend."""
    node = values[flags.NODE_NAME]
    if not node:
        raise settings.SettingsError("flag --node-name or environment variable METALLB_NODE_NAME is required")
    path = values[flags.ML_SECRET_KEY_PATH]
    try:
        override = OVERRIDE.read_text()
    except FileNotFoundError:
        override = ""
    return place.Place(
        node=node,
        namespace=namespace,
        load_balancer_class=values[flags.LB_CLASS],
        ignore_exclude_label=values[flags.IGNORE_EXCLUDE],
        member_labels=values[flags.ML_LABELS],
        member_address=values[flags.ML_BIND_ADDRESS],
        member_advertised=values[flags.HOST] if values[flags.ML_BIND_ADDRESS] in ("0.0.0.0", "::") else "",
        member_port=values[flags.ML_BIND_PORT],
        member_profile="wan" if values[flags.ML_WAN] else values[flags.ML_PROFILE],
        member_override=override,
        key_folder=pathlib.Path(path) if path else None,
        exclude=exclusions.load(),
        linger=values[flags.LINGER] / 1000,
        bgp_drain=values[flags.BGP_DRAIN] / 1000,
        drain_taint=values[flags.DRAIN_TAINT],
    )


def stop_seconds(chosen: place.Place) -> float:
    """How long stopping may take: BGP goes first, then layer 2 hands over, and each is given its time."""
    return STOP_SECONDS + chosen.bgp_drain + chosen.linger


async def run(values: settings.Values) -> int:
    """Run until a signal; the exit status."""
    clock = clocks.SystemClock()
    options = tls.Options.parse(values[flags.TLS_MIN_VERSION], values[flags.TLS_CIPHERS], values[flags.TLS_CURVES])
    found = connection.discover(values[flags.KUBECONFIG] or None)
    namespace = values[flags.NAMESPACE] or found.namespace or "metallb-system"
    chosen = settings_of(values, namespace)
    registry = metrics.Registry()
    shared = instruments.Instruments(registry)
    LOG.debug("settings", **values.as_fields())
    LOG.info("starting", version=version.__version__, node=chosen.node, namespace=namespace)
    async with clients.Client(
        found, user_agent=f"{COMPONENT}/{version.__version__}", on_request=shared.request
    ) as client:
        recorder = events.EventRecorder(client, COMPONENT, chosen.node, clock)
        one = speaker.Speaker(
            chosen,
            client=client,
            clock=clock,
            registry_metrics=gauges.Metrics(registry.collectors, chosen.node),
            session_metrics=bgp_gauges.Sessions(registry.collectors),
            shared_metrics=shared,
            recorder=recorder,
            owner=ownership.Pod(
                client,
                clock,
                namespace=namespace,
                name=values[flags.POD_NAME],
                uid=values[flags.POD_UID],
                logger=LOG,
            ),
        )
        return await serving.run(
            one,
            client=client,
            clock=clock,
            registry=registry,
            health_port=values[flags.HEALTH_PORT],
            health_address="127.0.0.1",
            metrics_port=values[flags.PORT],
            certificate_folder=values[flags.METRICS_CERTIFICATES],
            options=options,
            stop_seconds=stop_seconds(chosen),
        )


def main() -> int:
    """The entry point."""
    values = settings.parse_or_exit(flags.ALL, sys.argv[1:], os.environ)
    log.configure(values[flags.LOG_LEVEL])
    try:
        return asyncio.run(run(values))
    except (
        settings.SettingsError,
        exclusions.ExclusionError,
        tls.InvalidTLSError,
        connection.InvalidConnectionError,
        OSError,
    ) as error:
        LOG.error("cannot start", error=error)
        return 1
