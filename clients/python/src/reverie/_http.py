"""Requests in httpx's terms, and the settings of both clients."""

from __future__ import annotations

import os
from typing import Any

from ._flows import Request

TIMEOUT = 60.0
DEFAULT_URL = "http://127.0.0.1:8080"


def settings(url: str | None, key: str | None) -> tuple[str, dict[str, str]]:
    """The server's URL without a slash at the end, and the headers of every request."""
    url = (url or os.environ.get("REVERIE_URL") or DEFAULT_URL).rstrip("/")
    key = key or os.environ.get("REVERIE_KEY")
    return url, {"authorization": f"Bearer {key}"} if key else {}


def httpx_request(url: str, headers: dict[str, str], request: Request) -> dict[str, Any]:
    """The arguments of `httpx.Client.request`."""
    arguments: dict[str, Any] = {
        "method": request.method,
        "url": url + request.path,
        "headers": {**headers, **request.headers},
        "params": dict(request.query),
        "timeout": request.timeout or TIMEOUT,
        "follow_redirects": False,
    }
    if request.fields is not None:
        # A field as a file without a name: then the form is multipart even where there is no picture.
        form: list[tuple[str, Any]] = [(name, (None, text.encode())) for name, text in request.fields.items()]
        form += [(name, file) for name, file in (request.files or {}).items()]
        arguments["files"] = form
    if request.json is not None:
        arguments["json"] = request.json
    return arguments
