"""The client for asyncio: as client.py, with `await`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, AsyncIterator
from types import TracebackType
from typing import TypeVar, cast

import httpx

from . import _flows
from ._flows import Answer, Dream, Flow, Lost, Pause, Picture, PictureFile, Report, Request, Upload
from ._http import httpx_request, settings
from .types import Job, JobState, LayerList, ModelList, Spec, SteeringRequest

T = TypeVar("T")


class AsyncReverie:
    """A server.

    >>> async with AsyncReverie("http://127.0.0.1:8080") as server:
    ...     (await server.dream("photo.jpg", octaves=3)).save("dream.png")
    """

    def __init__(self, url: str | None = None, key: str | None = None, *, http: httpx.AsyncClient | None = None) -> None:
        """`url` and `key` come from REVERIE_URL and REVERIE_KEY where they are not given. `http` is a client of your own,
        for proxies and certificates; it is not closed here."""
        self._url, self._headers = settings(url, key)
        self._http = http or httpx.AsyncClient()
        self._owned = http is None

    async def __aenter__(self) -> AsyncReverie:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes connections."""
        if self._owned:
            await self._http.aclose()

    async def dream(
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
        job every `poll` seconds, and may be a coroutine. Raises JobFailed, JobCanceled or JobExpired, and what `submit` raises.
        """
        submission = _flows.submission(
            image, spec, mask, guide, priority, deadline_seconds, idempotency_key, None, None, members
        )
        return await self._run(_flows.dream(submission, None if on_progress is None else poll), on_progress)

    async def submit(
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
        return await self._run(
            _flows.submission(
                image, spec, mask, guide, priority, deadline_seconds, idempotency_key, webhook, webhook_events, members
            )
        )

    async def upload(self, picture: PictureFile) -> Upload:
        """Sends a picture ahead, to be named by any number of submissions: `dream(await server.upload("photo.jpg"))`."""
        return await self._run(_flows.upload(picture))

    async def job(self, job_id: str, *, wait: int = 0) -> Job:
        """A job. With `wait`, at most 60, the answer comes after so many seconds or when the job has ended."""
        return await self._run(_flows.get(job_id, wait))

    async def wait(self, job: Job, *, on_progress: Callable[[Job], object] | None = None, poll: float = 0.5) -> Dream:
        """Waits for a job that was submitted before, and fetches its dream."""
        return await self._run(_flows.collect(job, None if on_progress is None else poll), on_progress)

    async def jobs(self, status: JobState | None = None, *, page_size: int = 50) -> AsyncIterator[Job]:
        """All jobs, newest first; pages are fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = await self._run(_flows.page(status, page_size, cursor))
            for job in page["jobs"]:
                yield job
            cursor = _flows.cursor_of(page)
            if cursor is None:
                return

    async def result(self, job_id: str) -> bytes:
        """The picture of a job that has succeeded."""
        return await self._run(_flows.result(job_id))

    async def preview(self, job_id: str) -> bytes:
        """The dream as it stood after the newest octave."""
        return await self._run(_flows.preview(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Asks for the end of a job."""
        return await self._run(_flows.cancel(job_id))

    async def steer(self, job_id: str, change: SteeringRequest) -> Job:
        """Changes what a job dreams from its next octave or frame on; what is absent stays."""
        return await self._run(_flows.steer(job_id, change))

    async def fork(
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
        return await self._run(_flows.fork(job_id, spec, octave, frame, idempotency_key, members))

    async def pause(self, job_id: str) -> Job:
        """Pauses a job: it waits until it is resumed, and goes on where it was."""
        return await self._run(_flows.pause(job_id))

    async def resume(self, job_id: str) -> Job:
        """Puts a paused job back into the queue."""
        return await self._run(_flows.resume(job_id))

    async def erase(self, job_id: str) -> None:
        """Erases a job with its pictures."""
        return await self._run(_flows.erase(job_id))

    async def models(self) -> ModelList:
        """The networks that can dream."""
        return await self._run(_flows.models())

    async def layers(self, model: str) -> LayerList:
        """The layers of a network."""
        return await self._run(_flows.layers(model))

    async def _run(self, flow: Flow[T], on_progress: Callable[[Job], object] | None = None) -> T:
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
                    came = await self._send(step)
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Report(job) if on_progress is not None:
                    reported = on_progress(job)
                    if inspect.isawaitable(reported):
                        await reported

    async def _send(self, request: Request) -> Answer | Lost:
        try:
            answer = await self._http.request(**httpx_request(self._url, self._headers, request))
        except httpx.TransportError as cause:
            return Lost(cause)
        return Answer(answer.status_code, answer.headers, answer.content)
