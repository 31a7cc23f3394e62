//! A place in the picture that an objective is tied to, so that one form grows there.
//!
//! Its parameters are defined as those of a dream are (see `dream_spec.rs`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    kind::{Kind, Number},
    parameter::{Parameter, defaults_in_words, of_type, parameters},
    request::silent,
};
use reverie_fields::Fields;

parameters! {
    /// A place in the picture, as shares of its size: the objective counts most there, and less with the distance.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
    pub struct Spot, read from (fields) {
        /// From the left edge, 0, to the right one, 1.
        x: f64 {
            read: Number(0.0, 1.0),
            default: 0.5,
        }
        /// From the upper edge, 0, to the lower one, 1.
        y: f64 {
            read: Number(0.0, 1.0),
            default: 0.5,
        }
        /// How far it reaches, as a share of the picture's shorter edge: the standard deviation of a Gaussian.
        radius: f64 {
            read: Number(0.005, 1.0),
            default: 0.1,
        }
    }
}

impl Spot {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::read(&mut silent()))]
    }
}
