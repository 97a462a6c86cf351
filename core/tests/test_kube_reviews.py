"""Who may read /metrics, as the API server sees it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from metallb_core.kube import client as clients
from metallb_core.kube import connection, reviews
from metallb_core.runtime import metrics
from metallb_core.testing import clock as fake_clock
from metallb_core.testing import fake_apiserver

TOKENS = {"good": "prometheus", "weak": "nobody"}


@pytest.fixture
def clock() -> fake_clock.FakeClock:
    return fake_clock.FakeClock()


@pytest.fixture
async def server() -> AsyncIterator[fake_apiserver.FakeApiServer]:
    def token_review(body: dict[str, Any]) -> dict[str, Any]:
        name = TOKENS.get(body["spec"]["token"])
        if name is None:
            return body | {"status": {"authenticated": False, "error": "unknown"}}
        return body | {"status": {"authenticated": True, "user": {"username": name, "groups": ["g"]}}}

    def access_review(body: dict[str, Any]) -> dict[str, Any]:
        spec = body["spec"]
        right = spec["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"} and spec["groups"] == ["g"]
        return body | {"status": {"allowed": right and spec["user"] == "prometheus"}}

    async with fake_apiserver.FakeApiServer() as made:
        made.answers = {"tokenreviews": token_review, "subjectaccessreviews": access_review}
        yield made


@pytest.fixture
async def reviewer(
    server: fake_apiserver.FakeApiServer, clock: fake_clock.FakeClock
) -> AsyncIterator[reviews.Reviewer]:
    async with clients.Client(connection.plain(server.url), user_agent="metallb-test/0") as client:
        yield reviews.Reviewer(client, clock)


@pytest.mark.parametrize(
    ("token", "path", "verdict"),
    [
        pytest.param("good", "/metrics", metrics.Verdict.ALLOWED, id="allowed"),
        pytest.param("weak", "/metrics", metrics.Verdict.FORBIDDEN, id="no-right"),
        pytest.param("good", "/other", metrics.Verdict.FORBIDDEN, id="other-path"),
        pytest.param("bad", "/metrics", metrics.Verdict.UNKNOWN_TOKEN, id="unknown"),
    ],
)
async def test_verdicts(reviewer: reviews.Reviewer, token: str, path: str, verdict: metrics.Verdict) -> None:
    assert await reviewer.review(token, path, "get") is verdict


@pytest.mark.parametrize(
    ("token", "seconds", "requests"),
    [
        pytest.param("good", 59.0, 2, id="yes-is-remembered"),
        pytest.param("good", 61.0, 4, id="yes-not-for-ever"),
        pytest.param("weak", 9.0, 2, id="no-is-remembered"),
        pytest.param("weak", 11.0, 4, id="no-is-short"),
        pytest.param("bad", 9.0, 1, id="unknown-is-remembered"),
    ],
)
async def test_answers_are_remembered_for_a_while(
    reviewer: reviews.Reviewer,
    server: fake_apiserver.FakeApiServer,
    clock: fake_clock.FakeClock,
    token: str,
    seconds: float,
    requests: int,
) -> None:
    await reviewer.review(token, "/metrics", "get")
    await clock.advance(seconds)
    await reviewer.review(token, "/metrics", "get")
    assert len(server.requests) == requests


async def test_nobody_is_let_in_while_nobody_can_be_asked(
    reviewer: reviews.Reviewer, server: fake_apiserver.FakeApiServer
) -> None:
    server.fail(500)
    assert await reviewer.review("good", "/metrics", "get") is metrics.Verdict.UNDECIDED
    assert await reviewer.review("good", "/metrics", "get") is metrics.Verdict.ALLOWED, "and that is not remembered"
