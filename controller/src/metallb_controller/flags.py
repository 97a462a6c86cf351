"""The controller's flags and their environment variables: MetalLB's names and defaults, and a few of our own at the end."""

from typing import Final

from metallb_core.runtime import log, settings

BGP_TYPE: Final = settings.choice(
    "bgp-type",
    "native",
    "BGP back end of the speakers; only the native one exists.",
    choices=("native",),
    env="METALLB_BGP_TYPE",
)
NAMESPACE: Final = settings.text(
    "namespace", "", "Namespace of the configuration; the pod's own if unset.", env="METALLB_NAMESPACE"
)
POD_NAME: Final = settings.text(
    "pod-name", "", "Name of this pod: who it is when several controllers elect one.", env="METALLB_POD_NAME"
)
ML_SECRET_NAME: Final = settings.text(
    "ml-secret-name",
    "",
    "Secret with the speakers' membership key, made if absent; unset: none is made.",
    env="METALLB_ML_SECRET_NAME",
)
DEPLOYMENT: Final = settings.text(
    "deployment",
    "",
    "Deployment of this controller: it owns that Secret, and gives the Lease of the election its name.",
    env="METALLB_DEPLOYMENT",
)
LB_CLASS: Final = settings.text(
    "lb-class", "", "Handle only Services of this spec.loadBalancerClass; unset: those without one."
)
LOG_LEVEL: Final = settings.choice("log-level", "info", "Least level that is logged.", choices=tuple(log.LEVELS))
PORT: Final = settings.port("port", 9120, "Port of the metrics (HTTPS); 0 turns them off.")
HEALTH_PORT: Final = settings.port("health-probe-port", 17472, "Port of /healthz and /readyz.")
METRICS_CERTIFICATES: Final = settings.text(
    "metrics-cert-dir", "", "Folder with tls.crt and tls.key for the metrics; unset: a self-signed certificate."
)
TLS_MIN_VERSION: Final = settings.text(
    "tls-min-version", "", "Least TLS version of the metrics: VersionTLS12 or VersionTLS13."
)
TLS_CIPHERS: Final = settings.text(
    "tls-cipher-suites", "", "Cipher suites of the metrics, comma separated; TLS 1.2 only."
)
TLS_CURVES: Final = settings.text("tls-curve-preferences", "", "Curve numbers of the metrics, comma separated.")
WEBHOOK_MODE: Final = settings.choice(
    "webhook-mode",
    "enabled",
    "Accepted for old manifests: objects are checked by the API server's own rules and at load, not by a webhook.",
    choices=("enabled", "disabled", "onlywebhook"),
)
PPROF: Final = settings.text("pprof-bind-address", "", "Ignored: there is no Go profile to serve.")
KUBECONFIG: Final = settings.text("kubeconfig", "", "Configuration file to use outside a cluster.", env="KUBECONFIG")
WORKERS: Final = settings.integer("workers", 32, "Services handled at the same time.", minimum=1, maximum=256)

ALL: Final = (
    BGP_TYPE, NAMESPACE, POD_NAME, ML_SECRET_NAME, DEPLOYMENT, LB_CLASS, LOG_LEVEL, PORT, HEALTH_PORT, METRICS_CERTIFICATES, TLS_MIN_VERSION,
    TLS_CIPHERS, TLS_CURVES, WEBHOOK_MODE, KUBECONFIG, PPROF, WORKERS,
)  # fmt: skip
