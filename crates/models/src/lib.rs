//! The models that a process can dream with: which ones are known and where their files come from, what a file is, and what
//! a network dreams of where its file does not say.
//!
//! [`load_dir`] reads a folder into a [`Catalogue`](reverie_dream::model::Catalogue), [`load_file`] one file. The readers of
//! the formats are in `reverie_import`; here is only which of them a file needs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod defaults;
mod known;
mod load;
mod looks;

pub use known::{KnownModel, known_models};
pub use load::{Folder, ModelError, load_dir, load_file, load_id};
