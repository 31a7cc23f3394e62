"""What the client does, without a network: each flow yields what it needs and is sent what came of it.

So there is one description of every operation, of which client.py makes a blocking one and aio.py one for asyncio. A flow
yields a `Request` and gets the answer, or a `Pause`, or a `Report` for the caller's callback.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar, Union, cast
from urllib.parse import parse_qs, urlsplit

from .errors import JobCanceled, JobEnded, JobExpired, JobFailed, Unreachable, api_error
from .types import Job, JobList, JobState, LayerList, ModelList, Spec, SteeringRequest
from .types import Upload as UploadPlace


@dataclass(frozen=True)
class Upload:
    """A picture that was sent ahead; any number of submissions may name it until it expires, after an hour."""

    id: str
    expires_at: str
    """RFC 3339."""


PictureFile = Union[str, Path, bytes, BinaryIO]
"""A picture: a path, the file's bytes, or a file that is open for reading bytes."""

Picture = Union[PictureFile, Upload]
"""A picture: a file, or one that was sent ahead."""

MOST_TRIES = 5
LONGEST_PAUSE = 60.0
WAIT = 30
"""Seconds that the server holds an answer back while a job is under way; well below proxies' limits."""
ENDED: dict[str, type[JobEnded]] = {"failed": JobFailed, "canceled": JobCanceled, "expired": JobExpired}


@dataclass(frozen=True)
class Request:
    """A request; files are bytes, so that it can be sent again."""

    method: str
    path: str
    """A path of the server, or the URL of another one, which is sent no key."""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] | None = None
    files: Mapping[str, tuple[str, bytes]] | None = None
    json: object = None
    content: bytes | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Answer:
    """An answer; a request that got none is a `Lost`."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> object:
        try:
            return json.loads(self.content)
        except ValueError:
            return None


@dataclass(frozen=True)
class Lost:
    """No answer came, and why."""

    cause: Exception


@dataclass(frozen=True)
class Pause:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Report:
    """Tell the caller how far the job is."""

    job: Job


@dataclass(frozen=True)
class Dream:
    """A finished dream."""

    job: Job
    picture: bytes
    """The file, in the format that the spec asked for."""

    def save(self, path: str | Path) -> Path:
        """Writes the picture to a file."""
        target = Path(path)
        target.write_bytes(self.picture)
        return target


T = TypeVar("T")
Step = Union[Request, Pause, Report]
Flow = Generator[Step, Union[Answer, Lost, None], T]


def read(picture: PictureFile, name: str) -> tuple[str, bytes]:
    """A file's name and bytes."""
    if isinstance(picture, bytes):
        return name, picture
    if isinstance(picture, (str, Path)):
        return Path(picture).name, Path(picture).read_bytes()
    return name, picture.read()


def ask(request: Request) -> Flow[Answer]:
    """Sends a request, again where that can help and cannot do harm: every request here may be repeated, because a
    submission has an idempotency key."""
    for tried in range(1, MOST_TRIES + 1):
        answer = yield request
        if isinstance(answer, Lost):
            if tried == MOST_TRIES:
                raise Unreachable(f"the server does not answer: {answer.cause}") from answer.cause
            yield Pause(backoff(tried))
            continue
        assert answer is not None
        if answer.status < 400:
            return answer
        pause = retry_after(answer)
        if answer.status not in (429, 503) or tried == MOST_TRIES or (pause or 0) > LONGEST_PAUSE:
            raise api_error(answer.status, answer.json(), pause)
        yield Pause(backoff(tried) if pause is None else pause)
    raise AssertionError("the loop returns or raises")


def backoff(tried: int) -> float:
    """Seconds before the next try: half a second, doubled each time, with jitter."""
    return min(LONGEST_PAUSE, 0.5 * float(2 ** (tried - 1))) * random.uniform(0.5, 1.0)


def retry_after(answer: Answer) -> float | None:
    try:
        return max(0.0, float(answer.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def submission(
    image: Picture | None,
    spec: Spec | None,
    mask: Picture | None,
    guide: Picture | None,
    priority: int | None,
    deadline_seconds: int | None,
    idempotency_key: str | None,
    webhook: str | None,
    webhook_events: list[JobState] | None,
    members: Mapping[str, object],
) -> Flow[Job]:
    """Submits a job. `members` are members of the spec that were given one by one."""
    given = {
        "spec": json.dumps({**(spec or {}), **members}),
        "priority": None if priority is None else str(priority),
        "deadline_seconds": None if deadline_seconds is None else str(deadline_seconds),
        "webhook": webhook,
        "webhook_events": ",".join(webhook_events) if webhook_events else None,
    }
    fields = {name: text for name, text in given.items() if text is not None}
    files = {}
    for name, picture in (("image", image), ("mask", mask), ("guide", guide)):
        if isinstance(picture, Upload):
            fields[name] = f"urn:reverie:upload:{picture.id}"
        elif picture is not None:
            files[name] = read(picture, name)
    # A submission that is sent twice is one job.
    headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
    answer = yield from ask(Request("POST", "/v1/jobs", headers, fields=fields, files=files))
    return cast(Job, answer.json())


def upload(picture: PictureFile) -> Flow[Upload]:
    """Sends a picture ahead of its jobs: to the bucket, where the server's pictures are in one."""
    _, content = read(picture, "image")
    announced = yield from ask(Request("POST", "/v1/uploads", json={"bytes": len(content)}))
    made = cast(UploadPlace, announced.json())
    yield from ask(Request(made["method"], made["url"], made["headers"], content=content, timeout=300.0))
    return Upload(made["id"], made["expires_at"])


def get(job_id: str, wait: int = 0) -> Flow[Job]:
    """A job; with `wait` the server answers after so many seconds, or as soon as the job has ended."""
    headers = {"prefer": f"wait={wait}"} if wait else {}
    answer = yield from ask(Request("GET", f"/v1/jobs/{job_id}", headers, timeout=wait + 30.0))
    return cast(Job, answer.json())


def finish(job: Job, poll: float | None) -> Flow[Job]:
    """Waits until a job has ended, and reports on the way. `poll` is the pause between looks: without a callback none is
    needed, since the server answers when the job has ended."""
    yield Report(job)
    while job["status"] in ("queued", "running", "paused"):
        if poll is None:
            job = yield from get(job["id"], WAIT)
        else:
            yield Pause(poll)
            job = yield from get(job["id"])
        yield Report(job)
    if job["status"] in ENDED:
        raise ENDED[job["status"]](job)
    return job


def result(job_id: str) -> Flow[bytes]:
    answer = yield from ask(Request("GET", f"/v1/jobs/{job_id}/result", timeout=300.0))
    return answer.content


def preview(job_id: str) -> Flow[bytes]:
    answer = yield from ask(Request("GET", f"/v1/jobs/{job_id}/preview"))
    return answer.content


def collect(job: Job, poll: float | None) -> Flow[Dream]:
    """Waits for a job and fetches its picture."""
    job = yield from finish(job, poll)
    picture = yield from result(job["id"])
    return Dream(job, picture)


def dream(submitted: Flow[Job], poll: float | None) -> Flow[Dream]:
    """Submits, waits, fetches."""
    job = yield from submitted
    return (yield from collect(job, poll))


def cancel(job_id: str) -> Flow[Job]:
    answer = yield from ask(Request("POST", f"/v1/jobs/{job_id}/cancel"))
    return cast(Job, answer.json())


def steer(job_id: str, change: SteeringRequest) -> Flow[Job]:
    answer = yield from ask(Request("PATCH", f"/v1/jobs/{job_id}", json=change))
    return cast(Job, answer.json())


def fork(
    job_id: str,
    spec: Spec | None,
    octave: int | None,
    frame: int | None,
    idempotency_key: str | None,
    members: Mapping[str, object],
) -> Flow[Job]:
    """Submits a job that goes on after an octave or frame of another. `members` are members of the spec, given one by one."""
    places = {"octave": octave, "frame": frame}
    origin = {"job": job_id, **{name: place for name, place in places.items() if place is not None}}
    headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
    body = {"from": origin, "spec": {**(spec or {}), **members}}
    answer = yield from ask(Request("POST", "/v1/jobs", headers, json=body))
    return cast(Job, answer.json())


def pause(job_id: str) -> Flow[Job]:
    answer = yield from ask(Request("POST", f"/v1/jobs/{job_id}/pause"))
    return cast(Job, answer.json())


def resume(job_id: str) -> Flow[Job]:
    answer = yield from ask(Request("POST", f"/v1/jobs/{job_id}/resume"))
    return cast(Job, answer.json())


def erase(job_id: str) -> Flow[None]:
    yield from ask(Request("DELETE", f"/v1/jobs/{job_id}"))


def page(status: JobState | None, limit: int, cursor: str | None) -> Flow[JobList]:
    """One page of the list of jobs, newest first."""
    query = {"limit": str(limit)}
    query |= {"status": status} if status else {}
    query |= {"cursor": cursor} if cursor else {}
    answer = yield from ask(Request("GET", "/v1/jobs", query=query))
    return cast(JobList, answer.json())


def cursor_of(jobs: JobList) -> str | None:
    """Where the next page begins; None after the last."""
    following = jobs["links"]["next"]
    if following is None:
        return None
    return parse_qs(urlsplit(following).query)["cursor"][0]


def models() -> Flow[ModelList]:
    answer = yield from ask(Request("GET", "/v1/models"))
    return cast(ModelList, answer.json())


def layers(model: str) -> Flow[LayerList]:
    answer = yield from ask(Request("GET", f"/v1/models/{model}/layers"))
    return cast(LayerList, answer.json())
