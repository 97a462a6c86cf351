"""ServiceL2Status and ServiceBGPStatus objects: which node announces which Service, and to whom.

`objects`, `plan` and `bgp_plan` are PURE; `writer` calls the API.
"""
