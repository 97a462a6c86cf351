"""BGP: the wire codec, the session and its routes are PURE; sockets and processes are in the packages of each mode."""
