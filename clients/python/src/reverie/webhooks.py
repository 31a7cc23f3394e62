"""Checks that a webhook is from the server: Standard Webhooks 1.0, without further packages."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import InvalidWebhook

TOLERANCE = 300
"""Seconds by which a message's time may differ from ours."""


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    now: float | None = None,
) -> dict[str, Any]:
    """Returns the message, `{"type": "job.succeeded", "timestamp": …, "data": the job}`.

    `body` is the request's body as it came, byte for byte; `headers` in any spelling; `secrets` one or several
    `whsec_…`, while they are being changed. Keep `webhook-id` to tell a repetition: messages come at least once.

    Raises InvalidWebhook for a message that nobody with a secret has signed, or that is more than five minutes old.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
        age = (time.time() if now is None else now) - int(sent_at)
    except (KeyError, ValueError):
        raise InvalidWebhook("the headers of a webhook are missing or unreadable") from None
    if abs(age) > TOLERANCE:
        raise InvalidWebhook(f"the webhook's time differs by {age:.0f} seconds from ours; at most {TOLERANCE} are allowed")
    signed = f"{message_id}.{sent_at}.".encode() + body
    expected = [sign(secret, signed) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    # Every pair is compared, so that the time tells nothing.
    if not any([hmac.compare_digest(one.encode(), ours.encode()) for one in signatures for ours in expected]):
        raise InvalidWebhook("the webhook is not signed with any of the secrets")
    message = json.loads(body)
    if not isinstance(message, dict):
        raise InvalidWebhook("the webhook's body is no JSON object")
    return message


def sign(secret: str, signed: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("a webhook secret is whsec_ and base64") from None
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
