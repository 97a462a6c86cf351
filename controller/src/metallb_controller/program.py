"""What the process runs: a controller, and the webhook beside it as its mode says.

- `enabled`: both. `onlywebhook`: the webhook, and of the controller what follows the configuration. `disabled`: the controller, and what
  removes the registration that an earlier mode left.
- The webhook comes first, so that it stops last: it answers while the rest hands over.
"""

from metallb_controller import controller
from metallb_controller.admission import registration, webhook
from metallb_core.runtime import supervise


class Program:
    """See the module; what `serving.run` takes."""

    def __init__(self, one: controller.Controller, checking: webhook.Webhook | registration.Remover) -> None:
        self._controller = one
        self._checking = checking

    def parts(self) -> list[supervise.Part]:
        """What runs, in the order of starting."""
        if isinstance(self._checking, webhook.Webhook):
            return [*self._checking.parts(), *self._controller.parts()]
        return [supervise.Part(name="removing the webhook", run=self._checking.run), *self._controller.parts()]

    def failing(self) -> dict[str, str]:
        """What keeps the process from being ready, by name."""
        ours = self._checking.failing() if isinstance(self._checking, webhook.Webhook) else {}
        return {**self._controller.failing(), **ours}
