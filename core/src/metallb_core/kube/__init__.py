"""SHELL. The API server: a client, list-and-watch informers with their stores, Events, Leases, reviews of bearer tokens.

Reads go through informers, writes through the client; there is no throttle on our side, since the server has its own and says so (429).
"""
