"""The process that meets deadlines: ARP and neighbour answers, and membership, apart from the reconciler.

A busy reconciler holds its interpreter for tens of milliseconds at a time; in a process of its own an answer does not wait for that. The
reconciler talks to it through `client`, which spawns it, replays the desired state to it after a crash, and stops it in order.
"""
