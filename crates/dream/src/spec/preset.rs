//! What each preset stands for: the article's five, and one for pictures of a class or of channels.

use super::{Count, Noise, Normalization, OctaveMode, Parametrization, Preset, dream_spec::MAX_TILE};

/// Longer edge in pixels at which a photo is dreamed by default: a network sees objects of some hundred pixels, and a larger
/// picture would be full of small ones.
const PHOTO_EDGE: u32 = 1280;

/// What a preset stands for.
pub(super) struct PresetDefaults {
    pub(super) octaves: Count,
    pub(super) octave_mode: OctaveMode,
    pub(super) iterations: Count,
    pub(super) step: f64,
    pub(super) normalization: Normalization,
    pub(super) tile_size: u32,
    pub(super) jitter: bool,
    /// What the presets of the article do not know; `None` as if there were no such parameter.
    pub(super) parametrization: Option<Parametrization>,
    pub(super) jitter_pixels: Option<u32>,
    pub(super) random_scale: Option<f64>,
    pub(super) random_rotation: Option<f64>,
}

impl Preset {
    /// The longer edge at which this preset dreams photos; `None` for the article's own presets, which take images as they
    /// are, and for a start from noise, which has the size that was asked for.
    pub(super) fn suits_photos(self, noise: Option<Noise>) -> Option<u32> {
        (self == Self::DeepdreamLapnorm && noise.is_none()).then_some(PHOTO_EDGE)
    }

    /// What it stands for where a request says nothing.
    pub(super) fn defaults(self) -> PresetDefaults {
        use OctaveMode::{CarryDetail, Enlarge};
        let (octaves, octave_mode, iterations, step, normalization) = match self {
            Self::Naive => (1, Enlarge, 20, 1.0, Normalization::Std),
            Self::Multiscale => (3, Enlarge, 10, 1.0, Normalization::Std),
            Self::Lapnorm => (3, Enlarge, 10, 1.0, Normalization::Laplacian),
            Self::Deepdream => (4, CarryDetail, 10, 1.5, Normalization::MeanAbs),
            Self::DeepdreamLapnorm => (4, CarryDetail, 10, 1.5, Normalization::Laplacian),
            Self::FeatureVisualization => (2, Enlarge, 60, 1.5, Normalization::MeanAbs),
        };
        // The naive ascent knows no tiles: one as large as is allowed, and no jitter to hide its borders.
        let (tile_size, jitter) = if self == Self::Naive { (MAX_TILE, false) } else { (512, true) };
        let [octaves, iterations] = [octaves, iterations].map(Count::Of);
        let defaults = PresetDefaults {
            octaves,
            octave_mode,
            iterations,
            step,
            normalization,
            tile_size,
            jitter,
            parametrization: None,
            jitter_pixels: None,
            random_scale: None,
            random_rotation: None,
        };
        if self == Self::FeatureVisualization {
            PresetDefaults {
                parametrization: Some(Parametrization::Fourier),
                jitter_pixels: Some(8),
                random_scale: Some(0.1),
                random_rotation: Some(5.0),
                ..defaults
            }
        } else {
            defaults
        }
    }
}
