"""PURE. Which node announces what: who is eligible, who of them is elected, and what has to change for that to become true.

Every speaker decides for itself, from the same inputs and the same function, so that no messages about ownership are needed. Whatever differs
between two speakers' inputs is a moment of disagreement: inputs are kept few and are only what all speakers see.
"""
