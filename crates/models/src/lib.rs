//! The models that a process can dream with: which ones are known and where their files come from, where files are looked for,
//! what a file is, and what a network dreams of where neither its file nor the settings beside it say.
//!
//! [`load_folders`] reads folders into a [`Catalogue`](reverie_dream::model::Catalogue), [`load_file`] one file. The readers of
//! the formats are in `reverie_import`; here is only which of them a file needs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod aliases;
mod defaults;
mod error;
mod featured;
mod folders;
mod hash;
mod known;
mod labels;
mod load;
mod looks;
mod read;
mod settings;

pub use error::ModelError;
pub use folders::{data_folder, folders};
pub use hash::{Hasher, KnownHash};
pub use known::{Download, KnownModel, known_models};
pub use load::{Folder, find_known, format_of, load_best, load_file, load_folders, load_id};
pub use reverie_import::format::Format;
