//! Keys of blobs.

use std::fmt;

use uuid::Uuid;

use crate::{
    jobs::{Job, JobId, Lease, UploadId},
    tile::TileId,
};

/// Key of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKey {
    /// The input image of a job.
    Input(JobId),
    /// The mask of a job, white where the dream may grow.
    Mask(JobId),
    /// The guide image of a job, which its objectives follow.
    Guide(JobId),
    /// A finished dream. The lease is part of the key, so a worker that lost its job can neither overwrite
    /// nor delete its successor's dream.
    Result(JobId, Uuid),
    /// The checkpoint after the newest finished octave of a running job. Every worker of a job writes the
    /// same checkpoints in the same order, so the lease is not part of the key.
    Checkpoint(JobId),
    /// The dream so far as a small JPEG.
    Preview(JobId),
    /// What there is of a job that has ended, as a small WebP.
    Thumbnail(JobId),
    /// A picture that was sent ahead of its jobs.
    Upload(UploadId),
    /// What a layer or a channel of a network dreams, as a small WebP. It belongs to no job and is kept.
    Tile(TileId),
}

impl ObjectKey {
    /// The key for the dream of the holder of `lease`.
    pub fn result_under(lease: Lease) -> Self {
        Self::Result(lease.job, lease.token)
    }

    /// The key of a job's dream, once there is one.
    pub fn result_of(job: &Job) -> Option<Self> {
        job.result.as_ref().map(|result| Self::Result(job.id, result.lease))
    }

    /// The job that the blob belongs to; an upload or a tile belongs to none.
    pub fn job(self) -> Option<JobId> {
        match self {
            Self::Input(job) | Self::Mask(job) | Self::Guide(job) => Some(job),
            Self::Result(job, _) | Self::Checkpoint(job) => Some(job),
            Self::Preview(job) | Self::Thumbnail(job) => Some(job),
            Self::Upload(_) | Self::Tile(_) => None,
        }
    }

    /// Parses a key as [`fmt::Display`] writes it; `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name.split_once('/')? {
            ("inputs", job) => Some(Self::Input(job.parse().ok()?)),
            ("masks", job) => Some(Self::Mask(job.parse().ok()?)),
            ("guides", job) => Some(Self::Guide(job.parse().ok()?)),
            ("checkpoints", job) => Some(Self::Checkpoint(job.parse().ok()?)),
            ("previews", job) => Some(Self::Preview(job.parse().ok()?)),
            ("thumbnails", job) => Some(Self::Thumbnail(job.parse().ok()?)),
            ("uploads", upload) => Some(Self::Upload(upload.parse().ok()?)),
            ("tiles", tile) => Some(Self::Tile(TileId::parse(tile)?)),
            ("results", name) => {
                let (job, lease) = name.rsplit_once('-')?;
                Some(Self::Result(job.parse().ok()?, lease.parse().ok()?))
            }
            _ => None,
        }
    }

    /// Every blob that belongs to a job.
    pub fn all_of(job: &Job) -> Vec<Self> {
        let own =
            [Self::Input(job.id), Self::Checkpoint(job.id), Self::Preview(job.id), Self::Thumbnail(job.id)];
        let mask = job.spec.mask.map(|_| Self::Mask(job.id));
        let guide = job.has_guide().then_some(Self::Guide(job.id));
        own.into_iter().chain(mask).chain(guide).chain(Self::result_of(job)).collect()
    }

    pub(super) fn path(self) -> object_store::path::Path {
        object_store::path::Path::from(self.to_string())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(job) => write!(f, "inputs/{job}"),
            Self::Mask(job) => write!(f, "masks/{job}"),
            Self::Guide(job) => write!(f, "guides/{job}"),
            Self::Checkpoint(job) => write!(f, "checkpoints/{job}"),
            Self::Preview(job) => write!(f, "previews/{job}"),
            Self::Thumbnail(job) => write!(f, "thumbnails/{job}"),
            Self::Upload(upload) => write!(f, "uploads/{upload}"),
            Self::Tile(tile) => write!(f, "tiles/{tile}"),
            Self::Result(job, lease) => write!(f, "results/{job}-{}", lease.simple()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let job = JobId::new();
        let own = [ObjectKey::Input(job), ObjectKey::Checkpoint(job), ObjectKey::Preview(job)];
        let own =
            own.into_iter().chain([ObjectKey::Mask(job), ObjectKey::Guide(job), ObjectKey::Thumbnail(job)]);
        let tile = crate::tile::Tile { model: "m".into(), layer: "block1".into(), channel: None };
        let own = own.chain([ObjectKey::Tile(tile.id()), ObjectKey::Upload(UploadId::new())]);
        for key in own.chain([ObjectKey::Result(job, Uuid::new_v4())]) {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
        }
        for strange in ["", "inputs", "inputs/holiday.jpg", "results/holiday-1", "else/where"] {
            assert_eq!(ObjectKey::parse(strange), None, "{strange}");
        }
    }
}
