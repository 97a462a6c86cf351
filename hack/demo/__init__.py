"""`make demo`: one Service that really answers, on a real cluster, and what happens when its node loses power."""
