"""The controller's flags and their environment variables: MetalLB's names and defaults, and a few of our own at the end."""

from typing import Final

from metallb_core.runtime import flags, settings

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
    "Deployment of this controller: it owns that Secret, names the election's Lease, and is gone where all is removed.",
    env="METALLB_DEPLOYMENT",
)
LB_CLASS: Final = flags.LB_CLASS
LOG_LEVEL: Final = flags.LOG_LEVEL
PORT: Final = flags.PORT
HEALTH_PORT: Final = settings.port("health-probe-port", 17472, "Port of /healthz and /readyz.")
METRICS_CERTIFICATES: Final = flags.METRICS_CERTIFICATES
TLS_MIN_VERSION: Final = flags.tls_min_version("the metrics and the webhook")
TLS_CIPHERS: Final = flags.tls_ciphers("the metrics and the webhook")
TLS_CURVES: Final = flags.tls_curves("the metrics and the webhook")
WEBHOOK_MODE: Final = settings.choice(
    "webhook-mode",
    "enabled",
    "Whether objects are checked by a webhook when they are written; onlywebhook does nothing else; disabled removes its registration.",
    choices=("enabled", "disabled", "onlywebhook"),
)
WEBHOOK_POLICY: Final = settings.choice(
    "webhook-failure-policy",
    "Ignore",
    "What the API server does with a write while no webhook answers: Ignore stores it unchecked, Fail refuses it.",
    choices=("Ignore", "Fail"),
)
WEBHOOK_SECRET: Final = settings.text(
    "webhook-secret", "metallb-webhook-cert", "Secret with the webhook's certificate, kept filled and renewed."
)
WEBHOOK_SERVICE: Final = settings.text(
    "cert-service-name",
    "metallb-webhook-service",
    "Service that leads to the webhook; the certificate is for its name.",
)
WEBHOOK_OWNER: Final = settings.text(
    "webhook-owner",
    "",
    "ClusterRole that owns the webhook's registration, which goes when it goes; unset: the namespace owns it.",
    env="METALLB_WEBHOOK_OWNER",
)
CERT_ROTATION_DISABLED: Final = settings.boolean(
    "disable-cert-rotation",
    False,
    "Make no certificate for the webhook; read the files of --cert-dir, also when they change.",
)
CERT_FOLDER: Final = settings.text(
    "cert-dir",
    "/tmp/k8s-webhook-server/serving-certs",
    "Folder with tls.crt, tls.key and perhaps ca.crt for the webhook; read with --disable-cert-rotation only.",
)
WEBHOOK_HTTP2: Final = settings.boolean(
    "webhook-http2",
    False,
    "Accepted for old manifests: the webhook speaks HTTP/1.1, which is all that the API server needs.",
)
PPROF: Final = flags.PPROF
KUBECONFIG: Final = flags.KUBECONFIG
WORKERS: Final = settings.integer("workers", 32, "Services handled at the same time.", minimum=1, maximum=256)

ALL: Final = (
    BGP_TYPE, NAMESPACE, POD_NAME, ML_SECRET_NAME, DEPLOYMENT, LB_CLASS, LOG_LEVEL, PORT, HEALTH_PORT, METRICS_CERTIFICATES, TLS_MIN_VERSION,
    TLS_CIPHERS, TLS_CURVES, WEBHOOK_MODE, WEBHOOK_POLICY, WEBHOOK_SECRET, WEBHOOK_SERVICE, WEBHOOK_OWNER, CERT_ROTATION_DISABLED,
    CERT_FOLDER, WEBHOOK_HTTP2, KUBECONFIG, PPROF, WORKERS,
)  # fmt: skip
