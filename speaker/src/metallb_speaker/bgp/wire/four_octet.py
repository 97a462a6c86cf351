"""What a peer of 2-byte AS numbers could not say, put back in its place: RFC 6793 section 4.2.3.

AS_PATH and AGGREGATOR then hold AS_TRANS where the number is larger, and AS4_PATH and AS4_AGGREGATOR hold the truth, as long as nobody in
between changed the route without knowing of them.
"""

from metallb_speaker.bgp.wire import attributes as wire_attributes

_SEQUENCE = wire_attributes.SegmentType.AS_SEQUENCE


def merge(
    path: wire_attributes.AsPath | None,
    as4_path: wire_attributes.AsPath | None,
    aggregator: wire_attributes.Aggregator | None,
    as4_aggregator: wire_attributes.Aggregator | None,
) -> tuple[wire_attributes.AsPath | None, wire_attributes.Aggregator | None]:
    """The path and the aggregator that are meant."""
    if aggregator is not None and aggregator.asn != wire_attributes.AS_TRANS:
        # Somebody who knows 2 bytes only aggregated behind whoever wrote the other two: they are stale.
        return path, aggregator
    if aggregator is not None and as4_aggregator is not None:
        aggregator = as4_aggregator
    if path is not None and as4_path is not None:
        path = _merge_paths(path, as4_path)
    return path, aggregator


def _hops(path: wire_attributes.AsPath) -> int:
    return sum(len(asns) if kind is _SEQUENCE else 1 for kind, asns in path)


def _merge_paths(path: wire_attributes.AsPath, as4_path: wire_attributes.AsPath) -> wire_attributes.AsPath:
    """`as4_path` behind what `path` is longer at its front; a shorter `path` cannot belong to it and stays."""
    leading = _hops(path) - _hops(as4_path)
    if leading < 0:
        return path
    merged: list[wire_attributes.Segment] = []
    for kind, asns in path:
        if leading <= 0:
            break
        if kind is _SEQUENCE:
            merged.append(wire_attributes.Segment(kind, asns[:leading]))
            leading -= len(asns)
        else:
            merged.append(wire_attributes.Segment(kind, asns))
            leading -= 1
    rest = list(as4_path)
    if merged and rest and merged[-1].kind is rest[0].kind is _SEQUENCE:
        last = merged.pop()
        rest[0] = wire_attributes.Segment(last.kind, last.asns + rest[0].asns)
    return (*merged, *rest)
