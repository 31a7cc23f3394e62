"""A dream through the client that is generated from openapi.yaml: submit a photo, wait, save the picture.

Called by scripts/contract-test with the server's URL, a key, the photo and the file to save as.
"""

import sys
import uuid
from pathlib import Path

from reverie_client import AuthenticatedClient
from reverie_client.api.jobs import erase_job, get_job, get_result, list_jobs, submit_job
from reverie_client.models import (
    Job,
    JobState,
    L2Objective,
    L2ObjectiveRequest,
    L2ObjectiveRequestKind,
    ListJobsStatus,
    Problem,
    Spec,
    SubmitForm,
)
from reverie_client.types import File


def main(url: str, key: str, photo: str, target: str) -> None:
    client = AuthenticatedClient(base_url=url, token=key, timeout=90, raise_on_unexpected_status=True)
    with open(photo, "rb") as image:
        form = SubmitForm(
            image=File(payload=image, file_name=Path(photo).name),
            spec=Spec(
                objectives=[L2ObjectiveRequest(kind=L2ObjectiveRequestKind.L2, layer="block2")],
                octaves=2,
                iterations=2,
            ),
            priority=5,
        )
        job = submit_job.sync(client=client, body=form, idempotency_key=str(uuid.uuid4()))
    assert isinstance(job, Job), job
    while job.status in (JobState.QUEUED, JobState.RUNNING):
        job = get_job.sync(job.id, client=client, prefer="wait=30")
        assert isinstance(job, Job), job
    assert job.status == JobState.SUCCEEDED, job
    assert job.priority == 5 and job.spec.octaves == 2, job
    # An answer's objective is of the class of its kind.
    assert [type(one) for one in job.spec.objectives] == [L2Objective], job

    dream = get_result.sync(job.id, client=client)
    assert isinstance(dream, File), dream
    Path(target).write_bytes(dream.payload.read())

    listed = list_jobs.sync(client=client, status=ListJobsStatus.SUCCEEDED, limit=1)
    assert [one.id for one in listed.jobs] == [job.id], listed
    assert erase_job.sync_detailed(job.id, client=client).status_code == 204
    gone = get_job.sync(job.id, client=client)
    assert isinstance(gone, Problem) and gone.status == 404, gone


if __name__ == "__main__":
    main(*sys.argv[1:])
