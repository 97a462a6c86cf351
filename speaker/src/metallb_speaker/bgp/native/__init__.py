"""BGP over real sockets: the shell around the sessions.

What a session does is decided in `bgp.session`, which is pure. Here are the connection (`sockets`), routers that are found rather than named
(`neighbours`), the task that runs one session (`runner`), and all of them together (`peering`), which is what the speaker talks to.
"""
