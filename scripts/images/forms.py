"""The form of a submission, as tests and benchmarks of images send it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path


def submission(spec: dict, picture: Path) -> tuple[bytes, str]:
    """The body of a form with a picture and what to dream of it, and its content type."""
    border = uuid.uuid4().hex
    part = '--{}\r\ncontent-disposition: form-data; name="{}"{}\r\n\r\n'
    body = part.format(border, "spec", "").encode() + json.dumps(spec).encode() + b"\r\n"
    body += part.format(border, "image", f'; filename="{picture.name}"').encode() + picture.read_bytes()
    return body + f"\r\n--{border}--\r\n".encode(), f"multipart/form-data; boundary={border}"
