"""Answering and announcing addresses on the local links: the shell around `packets`.

`link`, `inventory`, `verdict`, `schedule` and `claims` are pure and take the time as an argument; `links`, `filtered`, `groups`, `responder`
and `announcer` own sockets. One event loop owns every mutable thing here, so there is no lock.
"""
