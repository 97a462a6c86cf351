"""The flags that both images have, in the same words: each is defined once, so that one manifest sets both alike.

What differs between them, be it in a word of its description, is the image's own.
"""

from typing import Final

from metallb_core.runtime import log, settings

LB_CLASS: Final = settings.text(
    "lb-class", "", "Handle only Services of this spec.loadBalancerClass; unset: those without one."
)
LOG_LEVEL: Final = settings.choice("log-level", "info", "Least level that is logged.", choices=tuple(log.LEVELS))
PORT: Final = settings.port("port", 9120, "Port of the metrics (HTTPS); 0 turns them off.")
METRICS_CERTIFICATES: Final = settings.text(
    "metrics-cert-dir", "", "Folder with tls.crt and tls.key for the metrics; unset: a self-signed certificate."
)
PPROF: Final = settings.text("pprof-bind-address", "", "Ignored: there is no Go profile to serve.")
KUBECONFIG: Final = settings.text("kubeconfig", "", "Configuration file to use outside a cluster.", env="KUBECONFIG")


def tls_min_version(served: str) -> settings.Flag[str]:
    """The least TLS version of what is `served`."""
    return settings.text("tls-min-version", "", f"Least TLS version of {served}: VersionTLS12 or VersionTLS13.")


def tls_ciphers(served: str) -> settings.Flag[str]:
    """The cipher suites of what is `served`."""
    return settings.text("tls-cipher-suites", "", f"Cipher suites of {served}, comma separated; TLS 1.2 only.")


def tls_curves(served: str) -> settings.Flag[str]:
    """The curves of what is `served`."""
    return settings.text("tls-curve-preferences", "", f"Curve numbers of {served}, comma separated.")
