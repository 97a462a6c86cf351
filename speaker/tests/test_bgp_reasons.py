"""Why a session is not Established, in words for a person: what the peer said, or what its silence may mean.

- Every NOTIFICATION that is received becomes a reason with its code and an advice; none is answered.
- A connection that is refused, silent or closed says what is likely wrong at the other side. Passwords are never shown.
"""

import dataclasses
import random

import pytest

from metallb_core.domain import reasons
from metallb_speaker.bgp import fsm, outputs, problems, session, timers
from metallb_speaker.bgp.wire import malformed, messages, notifications
from metallb_speaker.testing import bgp_link, bgp_talk

S = fsm.State
Reason = reasons.Reason


# What the peer said.


def _received(code: int, subcode: int, data: bytes = b"") -> reasons.Refusal | None:
    talk = bgp_talk.Talk().establish()
    written = len(talk.sent())
    talk.hear(messages.Notification(code=code, subcode=subcode, data=data).serialise())
    assert talk.session.state is S.IDLE
    assert len(talk.sent()) == written, "a NOTIFICATION is not answered"
    return talk.session.problem


@pytest.mark.parametrize(
    ("code", "subcode", "code_of_reason"),
    [
        pytest.param(2, 2, "B302", id="their-as-mismatch"),
        pytest.param(2, 5, "B303", id="authentication-failure"),
        pytest.param(2, 7, "B310", id="unsupported-capability"),
        pytest.param(2, 1, "B308", id="version"),
        pytest.param(2, 3, "B308", id="router-id"),
        pytest.param(2, 4, "B308", id="no-capabilities"),
        pytest.param(2, 6, "B308", id="hold-time"),
        pytest.param(3, 1, "B308", id="our-update"),
        pytest.param(4, 0, "B304", id="hold-timer"),
        pytest.param(4, 77, "B304", id="hold-timer-of-any-subcode"),
        pytest.param(6, 1, "B308", id="too-many-prefixes"),
        pytest.param(6, 2, "B308", id="shutdown"),
        pytest.param(6, 3, "B308", id="de-configured"),
        pytest.param(6, 5, "B308", id="rejected"),
        pytest.param(6, 10, "B307", id="bfd-down"),
        pytest.param(222, 111, "B308", id="unknown"),
    ],
)
def test_reason_of_a_received_notification(code: int, subcode: int, code_of_reason: str) -> None:
    problem = _received(code, subcode)
    assert problem is not None
    assert problem.reason.code == code_of_reason
    assert notifications.describe(code, subcode) in problem.detail


def test_every_row_for_received_notifications_is_reached() -> None:
    for code, subcode in problems.RECEIVED:
        problem = _received(code, 0 if subcode is None else subcode)
        assert problem is not None
        reason, advice = problems.RECEIVED[code, subcode]
        assert problem.reason is reason
        assert problem.detail.endswith(advice)


def test_a_hard_reset_is_understood_by_what_it_encloses() -> None:
    inner = messages.Notification(code=4)
    problem = _received(6, 9, bytes((inner.code, inner.subcode)))
    assert problem is not None
    assert problem.reason is Reason.BGP_HOLD_EXPIRED


def test_words_of_the_operator_are_shown() -> None:
    problem = _received(6, 2, bytes((5,)) + b"lunch")
    assert problem is not None
    assert "'lunch'" in problem.detail


def test_notifications_name_the_reason_on_both_sides() -> None:
    link = bgp_link.started(dataclasses.replace(bgp_link.ONE, peer_asn=64999))
    link.run(1.0)
    for side in link.sides:
        found = [problem for problem in side.problems if problem is not None and "AS" in problem.detail]
        assert {problem.reason for problem in found} == {reasons.Reason.BGP_AS_MISMATCH}
    assert (notifications.Code.OPEN_MESSAGE, notifications.Open.BAD_PEER_AS) in link.sides[0].notifications()
    assert "the peer says that it is AS 64501, where the object wants 64999 (spec.peerASN)" in str(
        link.sides[0].problems
    )


# What only a person could know.


def test_nobody_answers() -> None:
    for password, reason in ((bgp_talk.PASSWORD, Reason.BGP_AUTH_MISMATCH), ("", Reason.BGP_CONNECT_FAILED)):
        made = session.Session(dataclasses.replace(bgp_talk.PEER, password=password), random.Random(1))
        made.start(0.0)
        assert made.next_deadline() == timers.CONNECT_TIMEOUT
        made.take(0.0)
        made.tick(timers.CONNECT_TIMEOUT)
        assert made.take(0.0) == [outputs.Close(connection=1), outputs.Connect(connection=2)]
        assert made.problem is not None
        assert made.problem.reason is reason
        made.connected(1, bgp_talk.ENDS, 11.0)
        assert made.state is S.CONNECT, "an attempt that was given up does not count"


def test_a_refusal_of_the_shell_stands() -> None:
    made = session.Session(bgp_talk.PEER, random.Random(1))
    made.start(0.0)
    refusal = reasons.Refusal(Reason.BGP_AUTH_MISMATCH, "no answer; compare the passwords")
    made.connect_failed(1, refusal, 1.0)
    made.connect_failed(1, "again", 1.0)
    assert made.problem == refusal
    assert made.state is S.ACTIVE


def test_accepts_and_says_nothing() -> None:
    talk = bgp_talk.Talk()
    talk.session.tick(timers.OPEN_HOLD)
    talk.take()
    assert talk.notification() == messages.Notification(code=4)
    assert talk.reason() is Reason.BGP_CONNECT_FAILED
    assert "sent no OPEN within 30 s" in str(talk.session.problem)


def test_accepts_and_closes() -> None:
    talk = bgp_talk.Talk()
    talk.session.closed(1, "reset by the peer", 1.0)
    assert talk.session.state is S.ACTIVE
    assert talk.reason() is Reason.BGP_CONNECTION_LOST
    assert "may not have this node's address configured" in str(talk.session.problem)


def test_closes_later() -> None:
    talk = bgp_talk.Talk().establish()
    talk.session.closed(1, "reset by the peer", 1.0)
    assert talk.session.state is S.IDLE
    assert talk.reason() is Reason.BGP_CONNECTION_LOST
    assert "without a NOTIFICATION (reset by the peer)" in str(talk.session.problem)


def test_passwords_are_never_shown() -> None:
    refused = malformed.MalformedError(2, 2, b"", "another AS")
    shown = [
        problems.received(bgp_talk.PEER, messages.Notification(code=2, subcode=5)),
        problems.sent(bgp_talk.PEER, refused),
        problems.hold_expired(bgp_talk.PEER, 90),
        problems.bfd_down(bgp_talk.PEER),
        problems.unexpected(bgp_talk.PEER, "an OPEN", "Established"),
        problems.not_connected(bgp_talk.PEER, "refused"),
        problems.timed_out(bgp_talk.PEER, 10),
        problems.no_answer(bgp_talk.PEER, 30),
        problems.closed_early(bgp_talk.PEER, "reset"),
        problems.lost(bgp_talk.PEER, "reset"),
    ]
    assert all(bgp_talk.PASSWORD not in str(each) and "'tor'" in str(each) for each in shown)
    assert bgp_talk.PASSWORD not in repr(bgp_talk.PEER)
