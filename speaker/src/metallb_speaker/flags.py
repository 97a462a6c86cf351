"""The speaker's flags and their environment variables: MetalLB's names and defaults, and a few of our own at the end."""

from typing import Final

from metallb_core.runtime import flags, settings

BGP_TYPE: Final = settings.choice(
    "bgp-type", "native", "BGP back end; only the native one exists.", choices=("native",), env="METALLB_BGP_TYPE"
)
NAMESPACE: Final = settings.text(
    "namespace", "", "Namespace of the configuration and the speakers; the pod's own if unset.", env="METALLB_NAMESPACE"
)
HOST: Final = settings.text(
    "host", "", "Address of this node: what a wildcard --ml-bindaddr is advertised as.", env="METALLB_HOST"
)
NODE_NAME: Final = settings.text(
    "node-name", "", "Name of the node this speaker runs on. Required.", env="METALLB_NODE_NAME"
)
POD_NAME: Final = settings.text(
    "pod-name", "", "Name of this pod, which then owns its status objects.", env="METALLB_POD_NAME"
)
POD_UID: Final = settings.text(
    "pod-uid", "", "UID of this pod; the API server is asked for it if unset.", env="METALLB_POD_UID"
)
ML_BIND_ADDRESS: Final = settings.text(
    "ml-bindaddr", "", "Address that membership listens on; unset means no membership.", env="METALLB_ML_BIND_ADDR"
)
ML_BIND_PORT: Final = settings.port("ml-bindport", 7946, "Port of membership, UDP and TCP.", env="METALLB_ML_BIND_PORT")
ML_LABELS: Final = settings.text(
    "ml-labels", "", "Label selector of the speakers' pods; unset means no membership.", env="METALLB_ML_LABELS"
)
ML_SECRET_KEY_PATH: Final = settings.text(
    "ml-secret-key-path",
    "",
    "Folder with the file `secretkey` that encrypts membership.",
    env="METALLB_ML_SECRET_KEY_PATH",
)
ML_WAN: Final = settings.boolean("ml-wan-config", False, "Use membership timing for wide-area networks.")
ML_PROFILE: Final = settings.choice(
    "ml-profile",
    "fast",
    "Membership timing: fast finds a dead node in under a second; lan and wan are those of MetalLB.",
    choices=("fast", "lan", "wan"),
    env="METALLB_ML_PROFILE",
)
LB_CLASS: Final = flags.LB_CLASS
IGNORE_EXCLUDE: Final = settings.boolean(
    "ignore-exclude-lb",
    False,
    "Announce also from nodes labelled node.kubernetes.io/exclude-from-external-load-balancers.",
)
LOG_LEVEL: Final = flags.LOG_LEVEL
PORT: Final = flags.PORT
HEALTH_PORT: Final = settings.port("health-probe-port", 17472, "Port of /healthz and /readyz, on the loopback address.")
METRICS_CERTIFICATES: Final = flags.METRICS_CERTIFICATES
TLS_MIN_VERSION: Final = flags.tls_min_version("the metrics")
TLS_CIPHERS: Final = flags.tls_ciphers("the metrics")
TLS_CURVES: Final = flags.tls_curves("the metrics")
PPROF: Final = flags.PPROF
KUBECONFIG: Final = flags.KUBECONFIG
BGP_DRAIN: Final = settings.integer(
    "bgp-drain-ms",
    1000,
    "How long, when this speaker stops or its node is drained, routes carry the GRACEFUL_SHUTDOWN community before they are withdrawn;"
    " milliseconds. What exceeds the pod's grace period is cut off.",
    minimum=0,
    maximum=600000,
)
DRAIN_TAINT: Final = settings.text(
    "drain-taint", "", "Key of a taint that takes announcements off a node; unset: taints do not matter."
)
LINGER: Final = settings.integer(
    "linger-ms",
    1000,
    "How long to answer on after leaving, until the next owner is heard; milliseconds.",
    minimum=0,
    maximum=5000,
)
BGP_DEBOUNCE: Final = settings.integer(
    "bgp-debounce-timeout",
    3000,
    "Ignored: the native BGP back end needs no debouncing.",
    minimum=1,
    maximum=600000,
    env="METALLB_BGP_DEBOUNCE_TIMEOUT",
)

ALL: Final = (
    BGP_TYPE, NAMESPACE, HOST, NODE_NAME, POD_NAME, ML_BIND_ADDRESS, ML_BIND_PORT, ML_LABELS, ML_SECRET_KEY_PATH, ML_WAN, ML_PROFILE,
    LB_CLASS, IGNORE_EXCLUDE, LOG_LEVEL, PORT, HEALTH_PORT, METRICS_CERTIFICATES, TLS_MIN_VERSION, TLS_CIPHERS, TLS_CURVES, KUBECONFIG, PPROF,
    LINGER, BGP_DRAIN, DRAIN_TAINT, BGP_DEBOUNCE, POD_UID,
)  # fmt: skip
