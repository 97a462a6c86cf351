"""Why a Service has no address or is not announced, in conditions on the Service itself.

`metallb.io/Allocated` is written with the address, in the same patch; `metallb.io/Announced` is an aggregate over the nodes and is written here
alone, by the leading controller, so that a thousand speakers never write to one Service.
"""
