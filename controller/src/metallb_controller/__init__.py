"""The controller: gives every Service of type LoadBalancer an address from the pools.

Decisions are the core's (`allocation`, `config`); this package watches, applies and reports.
"""
