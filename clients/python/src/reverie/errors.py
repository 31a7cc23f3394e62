"""What can go wrong, as types: all of them are a ReverieError."""

from __future__ import annotations

from typing import cast

from .types import FieldError, Job, Prediction, Problem


class ReverieError(Exception):
    """The base of everything that this package raises by itself."""


class Unreachable(ReverieError):
    """The server gave no answer, and further tries did not help. The cause is the HTTP library's error."""


class ApiError(ReverieError):
    """The server refused a request. `detail` says what is wrong and what is allowed."""

    def __init__(self, status: int, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.get('detail') or problem.get('title') or 'no reason given'} ({status})")
        self.status = status
        self.type: str = problem.get("type", "about:blank")
        self.title: str = problem.get("title", "")
        self.detail: str = problem.get("detail", "")
        self.errors: list[FieldError] = problem.get("errors") or []
        """Each mistake in the request, with a JSON pointer to it."""
        self.prediction: Prediction | None = problem.get("prediction")
        """What the job would cost, where it costs too much; `largest` is a size that fits."""
        self.retry_after = retry_after
        """Seconds after which the same request may succeed."""


class InvalidRequest(ApiError):
    """400, 413, 415 or 422: another request is needed; see `errors` and `prediction`."""


class Unauthorized(ApiError):
    """401: no key, or one that does not work (any more)."""


class Forbidden(ApiError):
    """403: the key does not allow this."""


class NotFound(ApiError):
    """404: there is no such job, model or key, or it belongs to somebody else."""


class Conflict(ApiError):
    """409 or 410: not in this state of the job."""


class QuotaExceeded(ApiError):
    """429: too many requests or jobs; `retry_after` says when to come back."""


class ServerError(ApiError):
    """5xx: the server cannot do it now."""


KINDS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: QuotaExceeded,
}


def api_error(status: int, body: object, retry_after: float | None) -> ApiError:
    """The error of a status and a body, which a proxy may have written instead of the server."""
    problem = cast(Problem, body if isinstance(body, dict) else {})
    kind = KINDS.get(status, ServerError if status >= 500 else ApiError)
    return kind(status, problem, retry_after)


class JobEnded(ReverieError):
    """A job ended without a dream: it failed, was canceled, or expired."""

    def __init__(self, job: Job) -> None:
        problem = job["error"]
        super().__init__(f"job {job['id']} {job['status']}" + (f": {problem['detail']}" if problem else ""))
        self.job = job


class JobFailed(JobEnded):
    """The job failed; the message says why."""


class JobCanceled(JobEnded):
    """Somebody canceled the job."""


class JobExpired(JobEnded):
    """The job was not done by its deadline."""


class InvalidWebhook(ReverieError):
    """A webhook that is not from the server, or too old."""
