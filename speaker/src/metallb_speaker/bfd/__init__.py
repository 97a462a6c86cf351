"""Bidirectional Forwarding Detection: RFC 5880, single hop (RFC 5881) and multihop (RFC 5883), asynchronous mode with the echo function.

`packets`, `datagrams`, `machine`, `echo`, `session` and `registry` are pure: packets and the time go in, packets and states come out. `sockets`,
`mirror` and `service` do the input and output, in the deadline process: a packet that is sent late is an outage in the peer's eyes.
"""
