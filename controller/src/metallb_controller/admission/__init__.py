"""The admission webhook: what the API server asks before it stores one of our objects.

- `review` is PURE: a request and what exists in, an answer out. The rules are those of `metallb_core.config`, which load applies too.
- `server` answers over TLS, `authority` and `certificates` make and renew what it answers with, `registration` tells the API server of it.
- `webhook` puts them together in the one order that never refuses a good write: certificate, server, registration, readiness.
- Nothing depends on the webhook: what slips past it while no controller runs is set aside by itself at load.
"""
