"""The client against a running server (REVERIE_URL, REVERIE_KEY, REVERIE_PHOTO): scripts/contract-test starts one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from pathlib import Path

import pytest

from reverie import (
    AsyncReverie,
    InvalidRequest,
    JobCanceled,
    JobExpired,
    NotFound,
    Reverie,
    Unauthorized,
    Unreachable,
    Upload,
)
from reverie.types import Job, Spec

URL, PHOTO = os.environ["REVERIE_URL"], os.environ["REVERIE_PHOTO"]
SMALL: Spec = {"objectives": [{"kind": "l2", "layer": "block2"}], "octaves": 2, "iterations": 2}
LONG: Spec = {"objectives": [{"kind": "l2", "layer": "block10"}], "octaves": 1, "iterations": 1000}


def test_a_photo_becomes_a_dream(tmp_path: Path) -> None:
    seen: list[Job] = []
    with Reverie() as server:
        dream = server.dream(PHOTO, SMALL, seed=7, on_progress=seen.append, poll=0.05, priority=3)
        assert dream.job["status"] == "succeeded" and dream.job["spec"]["seed"] == 7 and dream.job["priority"] == 3
        result = dream.job["result"]
        assert result is not None and hashlib.sha256(dream.picture).hexdigest() == result["sha256"]
        assert dream.save(tmp_path / "dream.png").read_bytes().startswith(b"\x89PNG")
        assert [seen[0]["id"], seen[-1]["status"]] == [dream.job["id"], "succeeded"]
        assert server.result(dream.job["id"]) == dream.picture

        server.erase(dream.job["id"])
        with pytest.raises(NotFound):
            server.job(dream.job["id"])


def test_bytes_and_files_are_pictures_too_and_a_key_makes_one_job() -> None:
    key = str(uuid.uuid4())
    with Reverie() as server, open(PHOTO, "rb") as file:
        first = server.submit(file, SMALL, idempotency_key=key)
        second = server.submit(Path(PHOTO).read_bytes(), SMALL, idempotency_key=key)
        assert first["id"] == second["id"]
        assert server.wait(first).job["status"] == "succeeded"


def test_a_picture_is_sent_ahead_and_used_twice() -> None:
    with Reverie() as server:
        upload = server.upload(PHOTO)
        dreams = [server.dream(upload, SMALL, seed=7), server.dream(upload, SMALL, mask=server.upload(PHOTO), seed=7)]
        assert dreams[0].picture == server.dream(PHOTO, SMALL, seed=7).picture != dreams[1].picture
        with pytest.raises(NotFound):
            server.submit(Upload(str(uuid.uuid4()), upload.expires_at), SMALL)


def test_noise_needs_no_picture() -> None:
    with Reverie() as server:
        dream = server.dream(preset="naive", noise={"width": 64, "height": 64}, iterations=1)
        result = dream.job["result"]
        assert result is not None and (result["width"], result["height"]) == (64, 64)


def test_mistakes_say_where_they_are() -> None:
    with Reverie() as server:
        with pytest.raises(InvalidRequest) as refused:
            server.submit(PHOTO, octaves=-1, iteration=3)
        assert refused.value.status == 422
        assert {error["pointer"] for error in refused.value.errors} == {"/spec/octaves", "/spec/iteration"}
        with pytest.raises(InvalidRequest):
            server.submit(b"no picture")
        with pytest.raises(NotFound):
            server.job(str(uuid.uuid4()))
    with Reverie(key="rvk_0000000000000000_" + "0" * 64) as stranger, pytest.raises(Unauthorized):
        stranger.models()
    # Nobody listens at the discard service's port.
    with Reverie("http://127.0.0.1:9") as nobody, pytest.raises(Unreachable):
        nobody.models()


def test_jobs_that_end_without_a_dream_are_errors() -> None:
    with Reverie() as server:
        job = server.submit(PHOTO, LONG)
        assert server.cancel(job["id"])["cancel_requested"] or server.job(job["id"])["status"] == "canceled"
        with pytest.raises(JobCanceled) as canceled:
            server.wait(job)
        assert canceled.value.job["id"] == job["id"]
        with pytest.raises(JobExpired):
            server.dream(PHOTO, LONG, deadline_seconds=1)


def test_a_job_is_paused_steered_and_resumed() -> None:
    with Reverie() as server:
        job = server.submit(PHOTO, {**LONG, "octaves": 3})
        paused = server.pause(job["id"])
        assert paused["pause_requested"] or paused["status"] == "paused"
        assert server.steer(job["id"], {"step": 2.0})["steering"] is not None
        assert server.resume(job["id"])["status"] in ("queued", "running", "paused")
        server.erase(job["id"])


def test_a_dream_is_forked() -> None:
    with Reverie() as server:
        first = server.dream(PHOTO, {**SMALL, "octaves": 2}).job
        whole = server.dream(PHOTO, {**SMALL, "octaves": 2, "schedule": [{"octave": 2, "step": 3.0}]})
        forked = server.fork(first["id"], octave=1, step=3.0)
        assert server.wait(forked).picture == whole.picture
        with pytest.raises(InvalidRequest):
            server.fork(first["id"], {"step": 3.0}, octave=2)


def test_all_pages_of_the_list_are_read() -> None:
    with Reverie() as server:
        made = [server.submit(PHOTO, SMALL)["id"] for _ in range(3)]
        listed = [job["id"] for job in server.jobs(page_size=1)]
        assert [job for job in listed if job in made] == made[::-1]
        assert len(listed) == len(set(listed))
        for job in made:
            server.erase(job)


def test_models_and_layers_are_listed() -> None:
    with Reverie() as server:
        model = next(model for model in server.models()["models"] if model["default"])
        layers = [layer["name"] for layer in server.layers(model["id"])["layers"]]
        assert model["default_layer"] in layers


def test_the_same_with_asyncio() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def tell(job: Job) -> None:
            seen.append(job["status"])

        async with AsyncReverie() as server:
            dreams = await asyncio.gather(
                server.dream(PHOTO, SMALL, seed=1, on_progress=tell, poll=0.05), server.dream(PHOTO, SMALL, seed=2)
            )
            assert [dream.job["spec"]["seed"] for dream in dreams] == [1, 2] and seen[-1] == "succeeded"
            assert [job["id"] async for job in server.jobs("succeeded", page_size=1)][:2] != []
            for dream in dreams:
                await server.erase(dream.job["id"])
            with pytest.raises(NotFound):
                await server.job(dreams[0].job["id"])

    asyncio.run(main())
