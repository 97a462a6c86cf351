"""ServiceL2Status objects: which node announces which Service. Decisions in `plan` (PURE), API calls in `writer`."""
