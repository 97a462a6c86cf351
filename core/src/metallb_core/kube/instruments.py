"""The metrics both images share, with MetalLB's names: what was reconciled, whether the configuration is loaded and whole, and API requests."""

import prometheus_client

from metallb_core.runtime import metrics


class Instruments:
    """One process's. Pass `request` to the client as `on_request`."""

    def __init__(self, registry: metrics.Registry) -> None:
        self.updates = registry.counter("metallb_k8s_client_updates_total", "Objects reconciled.")
        self.update_errors = registry.counter("metallb_k8s_client_update_errors_total", "Reconciliations that failed.")
        self._loaded = registry.gauge(
            "metallb_k8s_client_config_loaded_bool", "1 once a configuration has been loaded."
        )
        self._stale = registry.gauge(
            "metallb_k8s_client_config_stale_bool", "1 while some object of the configuration is invalid and left out."
        )
        self._requests = registry.counter(
            "metallb_api_requests_total", "Requests to the API server.", ["verb", "resource", "code"]
        )
        # Looking a child up costs three times what counting costs.
        self._children: dict[tuple[str, str, int], prometheus_client.Counter] = {}
        self._loaded.set(0)
        self._stale.set(0)

    def request(self, verb: str, resource: str, code: int, _seconds: float) -> None:
        """Count one request; code 0 means that there was no answer."""
        key = (verb, resource, code)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._requests.labels(verb, resource, str(code))
        child.inc()

    def configured(self, *, stale: bool) -> None:
        """A configuration is in force; `stale` if some object of it is invalid."""
        self._loaded.set(1)
        self._stale.set(stale)
