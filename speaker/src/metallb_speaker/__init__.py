"""The speaker: makes the addresses of Services answer, one process group on each node.

- The reconciler (`world`, `reconcile`, `status`) watches the API and decides with the core's `announcement`.
- The deadline process (`deadline`, with `layer2` and `membership` inside) answers ARP and NDP and keeps up membership; it does nothing else,
  so that decoding JSON or collecting garbage never delays an answer.
"""
