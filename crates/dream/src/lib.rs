//! What to dream and what it costs, without dreaming it.
//!
//! - [`class_names`]: which class of a model a name means.
//! - [`digest`]: SHA-256 in hexadecimal.
//! - [`look`]: named parts of specs.
//! - [`model`]: a network with what is known of it, and the catalogue of models.
//! - [`spec`]: everything that determines a dream, read from a request, with every mistake reported at once.
//! - [`progress`]: how far a dream has come.
//! - [`plan`]: octaves, tiles, work and memory of a dream. The engine follows these plans.
//!
//! Nothing here touches a pixel, libtorch, a file or the network.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod class_names;
pub mod digest;
pub mod look;
pub mod model;
pub mod plan;
pub mod progress;
pub mod spec;
