"""Real BGP routers to peer with, each in a network namespace: FRR, BIRD, GoBGP and OpenBGPD from Debian's packages.

Each module has one `Router`, all of them with the same face (`router.Router`): what they are told of a neighbour and what they are asked.
"""
