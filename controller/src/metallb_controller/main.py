"""The program: read the settings, open what it needs, run a controller until asked to stop."""

import asyncio
import os
import pathlib
import random
import socket
import sys

from metallb_controller import controller, flags, program
from metallb_controller.admission import registration, webhook
from metallb_core import version
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments, serving
from metallb_core.runtime import clock as clocks
from metallb_core.runtime import log, metrics, settings, tls

LOG = log.get("controller")
COMPONENT = "metallb-controller"
# Connections beside the workers' own: some twenty watches, which hold one each; the lease, Events, pool status, questions to the webhook.
SPARE_CONNECTIONS = 32
STOP_SECONDS = 8.0


async def run(values: settings.Values) -> int:
    """Run until a signal; the exit status."""
    clock = clocks.SystemClock()
    options = tls.Options.parse(values[flags.TLS_MIN_VERSION], values[flags.TLS_CIPHERS], values[flags.TLS_CURVES])
    place = connection.discover(values[flags.KUBECONFIG] or None)
    namespace = values[flags.NAMESPACE] or place.namespace or "metallb-system"
    identity = values[flags.POD_NAME] or socket.gethostname()
    registry = metrics.Registry()
    shared = instruments.Instruments(registry)
    LOG.debug("settings", **values.as_fields())
    LOG.info("starting", version=version.__version__, identity=identity, namespace=namespace)
    async with clients.Client(
        place,
        user_agent=f"{COMPONENT}/{version.__version__}",
        on_request=shared.request,
        pool=values[flags.WORKERS] + SPARE_CONNECTIONS,
    ) as client:
        one = controller.Controller(
            controller.Settings(
                namespace=namespace,
                identity=identity,
                load_balancer_class=values[flags.LB_CLASS],
                secret=values[flags.ML_SECRET_NAME],
                deployment=values[flags.DEPLOYMENT],
                workers=values[flags.WORKERS],
                reconciles=values[flags.WEBHOOK_MODE] != "onlywebhook",
            ),
            client=client,
            clock=clock,
            random=random.Random(),
            recorder=events.EventRecorder(client, COMPONENT, identity, clock),
            shared_metrics=shared,
            collectors=registry.collectors,
        )
        return await serving.run(
            program.Program(one, _checking(values, namespace, options, client, clock, one)),
            client=client,
            clock=clock,
            registry=registry,
            health_port=values[flags.HEALTH_PORT],
            metrics_port=values[flags.PORT],
            certificate_folder=values[flags.METRICS_CERTIFICATES],
            options=options,
            stop_seconds=STOP_SECONDS,
        )


def _checking(
    values: settings.Values,
    namespace: str,
    options: tls.Options,
    client: clients.Client,
    clock: clocks.Clock,
    one: controller.Controller,
) -> webhook.Webhook | registration.Remover:
    """The webhook, or what keeps it away."""
    if values[flags.WEBHOOK_MODE] == "disabled":
        return registration.Remover(client, clock, random.Random())
    target = registration.Target(
        namespace=namespace,
        service=values[flags.WEBHOOK_SERVICE],
        failure_policy=values[flags.WEBHOOK_POLICY],
        cluster_role=values[flags.WEBHOOK_OWNER],
    )
    return webhook.Webhook(
        webhook.Settings(
            target=target,
            secret=values[flags.WEBHOOK_SECRET],
            folder=pathlib.Path(values[flags.CERT_FOLDER]) if values[flags.CERT_ROTATION_DISABLED] else None,
            options=options,
        ),
        client=client,
        clock=clock,
        random=random.Random(),
        known=one.configuration.resources,
        wait_known=one.configuration.wait_answered,
    )


def main() -> int:
    """The entry point."""
    values = settings.parse_or_exit(flags.ALL, sys.argv[1:], os.environ)
    log.configure(values[flags.LOG_LEVEL])
    try:
        return asyncio.run(run(values))
    except (settings.SettingsError, tls.InvalidTLSError, connection.InvalidConnectionError, OSError) as error:
        LOG.error("cannot start", error=error)
        return 1
