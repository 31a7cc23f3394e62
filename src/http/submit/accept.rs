//! Stores what a job needs, and then the job.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{error, info};

use super::{
    super::{error::ApiError, input::has_input, result::missing, state::AppState, uploads::Share},
    refused,
};
use crate::{
    jobs::{Job, NewJob},
    objects::ObjectKey,
};
use reverie_dream::spec::DreamSpec;

/// The files of a job.
pub(in crate::http) struct Pictures {
    pub(super) image: Option<Bytes>,
    mask: Option<Bytes>,
    pub(super) guide: Option<Bytes>,
    /// The memory that the files take: of a request, or as a turn among those that read stored files.
    _share: Option<Share>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Pictures {
    /// Files that came with a request, and the memory that they take.
    pub(super) fn sent([image, mask, guide]: [Option<Bytes>; 3], share: Option<Share>) -> Self {
        Self { image, mask, guide, _share: share, _turn: None }
    }

    /// Files of `job`, as far as a dream of `spec` needs them. They take memory that no upload has asked for, so they are read in
    /// turn.
    ///
    /// # Errors
    /// [`ApiError::Gone`] once they are erased, and what the store says.
    pub async fn of(state: &AppState, job: &Job, spec: &DreamSpec) -> Result<Self, ApiError> {
        let turn = state.rereading().await;
        let read = async |key, is_needed| match is_needed {
            false => Ok(None),
            true => match state.objects.get(key).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => Err(missing(state, job, error).await),
            },
        };
        Ok(Self {
            image: read(ObjectKey::Input(job.id), has_input(job)).await?,
            mask: read(ObjectKey::Mask(job.id), spec.mask.is_some()).await?,
            guide: read(ObjectKey::Guide(job.id), spec.follows_guide()).await?,
            _share: None,
            _turn: turn,
        })
    }

    /// Length of image, mask and guide image.
    pub fn bytes(&self) -> u64 {
        let files = [&self.image, &self.mask, &self.guide].into_iter().flatten();
        files.map(|file| file.len() as u64).sum()
    }
}

/// The outcome of a submission.
pub(in crate::http) struct Accepted {
    pub job: Job,
    /// Whether the job belongs to an earlier request with the same key.
    pub(super) replayed: bool,
}

/// Stores the pictures, then the row.
pub(in crate::http) async fn accept(
    state: AppState,
    pictures: Pictures,
    job: NewJob,
) -> Result<Accepted, ApiError> {
    let id = job.id;
    let Pictures { image, mask, guide, _share, _turn } = pictures;
    let files = [(ObjectKey::Input(id), image), (ObjectKey::Mask(id), mask), (ObjectKey::Guide(id), guide)];
    let mut stored = Vec::new();
    for (object, file) in files {
        if let Some(file) = file {
            stored.push(object);
            state.objects.put(object, file).await?;
        }
    }
    let accepted = state.queue.enqueue(job).await;
    if accepted.as_ref().is_ok_and(|job| job.id == id) {
        info!(job = %id, "job accepted");
        return Ok(Accepted { job: accepted?, replayed: false });
    }
    // If it is unknown whether the job was accepted, it may have been: an extra picture merely takes space.
    let accepted = match accepted {
        Err(error) if error.is_down() => return Err(error.into()),
        other => other,
    };
    // The pictures are useless: the job is refused, or exists already.
    for object in stored {
        if let Err(error) = state.objects.delete(object).await {
            error!(%error, "the input of a job that was not accepted could not be deleted");
        }
    }
    let known = match accepted {
        Err(error) => return Err(refused(&state, error).await?),
        Ok(known) => known,
    };
    info!(job = %known.id, "a request was repeated");
    Ok(Accepted { job: known, replayed: true })
}
