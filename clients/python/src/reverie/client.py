"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar, cast

import httpx

from . import _flows
from ._flows import Answer, Dream, Flow, Lost, Pause, Picture, PictureFile, Report, Request, Upload
from ._http import httpx_request, settings
from .types import Job, JobState, LayerList, ModelList, Spec, SteeringRequest

T = TypeVar("T")


class Reverie:
    """A server.

    >>> with Reverie("http://127.0.0.1:8080") as server:
    ...     server.dream("photo.jpg", octaves=3).save("dream.png")
    """

    def __init__(self, url: str | None = None, key: str | None = None, *, http: httpx.Client | None = None) -> None:
        """`url` and `key` come from REVERIE_URL and REVERIE_KEY where they are not given. `http` is a client of your own,
        for proxies and certificates; it is not closed here."""
        self._url, self._headers = settings(url, key)
        self._http = http or httpx.Client()
        self._owned = http is None

    def __enter__(self) -> Reverie:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes connections."""
        if self._owned:
            self._http.close()

    def dream(
        self,
        image: Picture | None = None,
        spec: Spec | None = None,
        *,
        mask: Picture | None = None,
        guide: Picture | None = None,
        priority: int | None = None,
        deadline_seconds: int | None = None,
        idempotency_key: str | None = None,
        on_progress: Callable[[Job], object] | None = None,
        poll: float = 0.5,
        **members: object,
    ) -> Dream:
        """Dreams on a picture (or from noise, if the preset does), and returns when the dream is there.

        Members of the spec are given as `spec` or one by one: `dream(photo, octaves=3)`. `on_progress` is called with the
        job every `poll` seconds. Raises JobFailed, JobCanceled or JobExpired, and what `submit` raises.
        """
        submission = _flows.submission(
            image, spec, mask, guide, priority, deadline_seconds, idempotency_key, None, None, members
        )
        return self._run(_flows.dream(submission, None if on_progress is None else poll), on_progress)

    def submit(
        self,
        image: Picture | None = None,
        spec: Spec | None = None,
        *,
        mask: Picture | None = None,
        guide: Picture | None = None,
        priority: int | None = None,
        deadline_seconds: int | None = None,
        idempotency_key: str | None = None,
        webhook: str | None = None,
        webhook_events: list[JobState] | None = None,
        **members: object,
    ) -> Job:
        """Submits a job and returns at once. The server tells `webhook` when it has ended.

        Raises InvalidRequest with each mistake in the request, QuotaExceeded when there are too many jobs.
        """
        return self._run(
            _flows.submission(
                image, spec, mask, guide, priority, deadline_seconds, idempotency_key, webhook, webhook_events, members
            )
        )

    def upload(self, picture: PictureFile) -> Upload:
        """Sends a picture ahead, to be named by any number of submissions: `dream(server.upload("photo.jpg"))`."""
        return self._run(_flows.upload(picture))

    def job(self, job_id: str, *, wait: int = 0) -> Job:
        """A job. With `wait`, at most 60, the answer comes after so many seconds or when the job has ended."""
        return self._run(_flows.get(job_id, wait))

    def wait(self, job: Job, *, on_progress: Callable[[Job], object] | None = None, poll: float = 0.5) -> Dream:
        """Waits for a job that was submitted before, and fetches its dream."""
        return self._run(_flows.collect(job, None if on_progress is None else poll), on_progress)

    def jobs(self, status: JobState | None = None, *, page_size: int = 50) -> Iterator[Job]:
        """All jobs, newest first; pages are fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = self._run(_flows.page(status, page_size, cursor))
            yield from page["jobs"]
            cursor = _flows.cursor_of(page)
            if cursor is None:
                return

    def result(self, job_id: str) -> bytes:
        """The picture of a job that has succeeded."""
        return self._run(_flows.result(job_id))

    def preview(self, job_id: str) -> bytes:
        """The dream as it stood after the newest octave."""
        return self._run(_flows.preview(job_id))

    def cancel(self, job_id: str) -> Job:
        """Asks for the end of a job."""
        return self._run(_flows.cancel(job_id))

    def steer(self, job_id: str, change: SteeringRequest) -> Job:
        """Changes what a job dreams from its next octave or frame on; what is absent stays."""
        return self._run(_flows.steer(job_id, change))

    def fork(
        self,
        job_id: str,
        spec: Spec | None = None,
        *,
        octave: int | None = None,
        frame: int | None = None,
        idempotency_key: str | None = None,
        **members: object,
    ) -> Job:
        """Keeps a job's dream up to an octave, of an animation up to a frame, and submits the rest with another spec.

        The spec names what changes, such as `objectives` and `step`.
        """
        return self._run(_flows.fork(job_id, spec, octave, frame, idempotency_key, members))

    def pause(self, job_id: str) -> Job:
        """Pauses a job: it waits until it is resumed, and goes on where it was."""
        return self._run(_flows.pause(job_id))

    def resume(self, job_id: str) -> Job:
        """Puts a paused job back into the queue."""
        return self._run(_flows.resume(job_id))

    def erase(self, job_id: str) -> None:
        """Erases a job with its pictures."""
        return self._run(_flows.erase(job_id))

    def models(self) -> ModelList:
        """The networks that can dream."""
        return self._run(_flows.models())

    def layers(self, model: str) -> LayerList:
        """The layers of a network."""
        return self._run(_flows.layers(model))

    def _run(self, flow: Flow[T], on_progress: Callable[[Job], object] | None = None) -> T:
        """Does what a flow asks for."""
        came: Answer | Lost | None = None
        while True:
            try:
                step = flow.send(came)
            except StopIteration as end:
                return cast(T, end.value)
            came = None
            match step:
                case Request():
                    came = self._send(step)
                case Pause(seconds):
                    time.sleep(seconds)
                case Report(job) if on_progress is not None:
                    on_progress(job)

    def _send(self, request: Request) -> Answer | Lost:
        try:
            answer = self._http.request(**httpx_request(self._url, self._headers, request))
        except httpx.TransportError as cause:
            return Lost(cause)
        return Answer(answer.status_code, answer.headers, answer.content)
