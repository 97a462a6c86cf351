"""Which of two connections to one peer stays: RFC 4271 section 6.8, with equal identifiers told apart by RFC 6286 section 2.3.

Both sides come to the same result, since both know both identifiers and who opened which connection.
"""

from metallb_core.domain import addresses


def keeps_ours(*, local_id: addresses.Address, local_asn: int, peer_id: addresses.Address, peer_asn: int) -> bool:
    """Whether the connection that we opened stays: that of the side with the higher identifier, or the higher AS where they are equal."""
    return (local_id.value, local_asn) > (peer_id.value, peer_asn)
