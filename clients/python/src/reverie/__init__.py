"""A client of Reverie, the DeepDream rendering service.

    from reverie import Reverie

    with Reverie("http://127.0.0.1:8080") as server:
        server.dream("photo.jpg").save("dream.png")

`AsyncReverie` is the same for asyncio, `webhooks.verify` checks messages about jobs that have ended.
"""

from . import webhooks
from ._flows import Dream, Picture, PictureFile, Upload
from .aio import AsyncReverie
from .client import Reverie
from .errors import (
    ApiError,
    Conflict,
    Forbidden,
    InvalidRequest,
    InvalidWebhook,
    JobCanceled,
    JobEnded,
    JobExpired,
    JobFailed,
    NotFound,
    QuotaExceeded,
    ReverieError,
    ServerError,
    Unauthorized,
    Unreachable,
)

__all__ = [
    "ApiError",
    "AsyncReverie",
    "Conflict",
    "Dream",
    "Forbidden",
    "InvalidRequest",
    "InvalidWebhook",
    "JobCanceled",
    "JobEnded",
    "JobExpired",
    "JobFailed",
    "NotFound",
    "Picture",
    "PictureFile",
    "QuotaExceeded",
    "Reverie",
    "ReverieError",
    "ServerError",
    "Unauthorized",
    "Unreachable",
    "Upload",
    "webhooks",
]
