"""PURE. Which Service has which address, and which one it should have.

The ledger is observed Services plus reservations; `converge` reads it and decides about one Service; nothing here writes to the cluster.
"""
