"""What needs no server: when a request is sent again, and who signed a webhook."""

from __future__ import annotations

import datetime
import json
import time

import pytest
from standardwebhooks import Webhook

from reverie import InvalidWebhook, QuotaExceeded, ServerError, Unreachable, webhooks
from reverie._flows import Answer, Lost, Pause, Request, Step, get
from reverie._http import httpx_request

JOB = json.dumps({"id": "a", "status": "queued"}).encode()
SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]


def run(answers: list[Answer | Lost]) -> tuple[object, list[Step]]:
    """What a look at a job comes to where these answers come, and what it did."""
    flow, steps = get("a"), list[Step]()
    step = next(flow)
    try:
        while True:
            steps.append(step)
            step = flow.send(answers.pop(0) if isinstance(step, Request) else None)
    except StopIteration as end:
        return end.value, steps


def busy(status: int, seconds: str | None = None) -> Answer:
    headers = {} if seconds is None else {"retry-after": seconds}
    return Answer(status, headers, b'{"type": "urn:x", "title": "busy", "detail": "come back"}')


def test_what_can_help_is_tried_again() -> None:
    lost = Lost(OSError("reset"))
    job, steps = run([busy(503, "2"), busy(429), lost, Answer(200, {}, JOB)])
    assert job == json.loads(JOB)
    pauses = [step.seconds for step in steps if isinstance(step, Pause)]
    assert len(pauses) == 3 and pauses[0] == 2.0 and all(0 < pause <= 60 for pause in pauses)

    with pytest.raises(Unreachable):
        run([lost] * 5)
    with pytest.raises(QuotaExceeded) as quota:
        run([busy(429, "1")] * 5)
    assert quota.value.retry_after == 1.0 and quota.value.detail == "come back"


def test_what_cannot_help_is_not() -> None:
    # Too long a pause, another kind of fault, and an answer that is not the server's.
    for answer in (busy(503, "3600"), busy(500), Answer(502, {}, b"<html>bad gateway</html>")):
        with pytest.raises(ServerError):
            run([answer])


def test_only_the_server_learns_the_key() -> None:
    url, headers = "http://server:8080", {"authorization": "Bearer rvk_a"}
    for path, sent_to, knows in (
        ("/v1/uploads/a", "http://server:8080/v1/uploads/a", True),
        ("http://server:8080/v1/uploads/a", "http://server:8080/v1/uploads/a", True),
        ("http://server:8080.example/a", "http://server:8080.example/a", False),
        ("https://bucket.example/a?X-Amz-Signature=b", "https://bucket.example/a?X-Amz-Signature=b", False),
    ):
        arguments = httpx_request(url, headers, Request("PUT", path, content=b"a"))
        assert (arguments["url"], "authorization" in arguments["headers"]) == (sent_to, knows)


def test_webhooks_of_another_implementation_are_verified() -> None:
    body, now = b'{"type": "job.succeeded", "data": {"id": "a"}}', int(time.time())
    moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
    signature = Webhook(SECRETS[0]).sign("msg_1", moment, body.decode())
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(now), "Webhook-Signature": f"v1,AAAA {signature}"}
    assert webhooks.verify(body, headers, SECRETS[0])["type"] == "job.succeeded"
    assert webhooks.verify(body, headers, SECRETS[::-1])["data"]["id"] == "a"

    for wrong_body, wrong_headers, secret, at in (
        (body + b" ", headers, SECRETS[0], now),
        (body, headers, SECRETS[1], now),
        (body, {**headers, "Webhook-Id": "msg_2"}, SECRETS[0], now),
        (body, {**headers, "Webhook-Timestamp": str(now - 1)}, SECRETS[0], now),
        (body, {**headers, "Webhook-Timestamp": "soon"}, SECRETS[0], now),
        (body, {**headers, "Webhook-Signature": ""}, SECRETS[0], now),
        (body, {}, SECRETS[0], now),
        (body, headers, SECRETS[0], now + 301),
        (body, headers, SECRETS[0], now - 301),
    ):
        with pytest.raises(InvalidWebhook):
            webhooks.verify(wrong_body, wrong_headers, secret, now=at)
