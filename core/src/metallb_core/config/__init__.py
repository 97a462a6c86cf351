"""PURE. Custom resources compiled into one immutable configuration; every rule about them, in one place.

- One module for each kind; `compiled` puts them together. Each compiles one object by itself and raises `problems.InvalidError`.
- Quarantine by object: an invalid object is left out, or its last good form stays in force; nothing else is disturbed.
"""
