//! What happens to pixels before the network sees them, and the derivative of that.

use tch::{Device, Tensor};

use super::super::RenderError;
use reverie_dream::model::Preprocessing;

/// A model's preprocessing on a device.
pub(super) enum Preparation {
    /// `(x − mean) · scale`, the same for every channel: a kernel does it while it changes the layout.
    Uniform { mean: f32, scale: f32 },
    /// Each channel has its own, or they change places.
    PerChannel {
        /// `[1, 3, 1, 1]`.
        mean: Tensor,
        /// `[1, 3, 1, 1]`.
        scale: Tensor,
        bgr: bool,
    },
}

impl Preparation {
    pub(super) fn new(preprocessing: &Preprocessing, device: Device) -> Result<Self, RenderError> {
        if let Some((mean, scale)) = preprocessing.as_uniform() {
            return Ok(Self::Uniform { mean, scale });
        }
        let upload = |values: [f32; 3]| -> Result<Tensor, RenderError> {
            Ok(Tensor::f_from_slice(&values)?.f_reshape([1, 3, 1, 1])?.f_to_device(device)?)
        };
        let Preprocessing { mean, scale, bgr } = *preprocessing;
        Ok(Self::PerChannel { mean: upload(mean)?, scale: upload(scale)?, bgr })
    }

    /// `[N, 3, H, W]` in 0–255 as the network wants it.
    pub(super) fn apply(&self, image: &Tensor) -> Result<Tensor, RenderError> {
        match self {
            Self::Uniform { mean, scale } => {
                Ok(image.f_sub_scalar(f64::from(*mean))?.f_mul_scalar(f64::from(*scale))?)
            }
            Self::PerChannel { mean, scale, bgr } => {
                let prepared = image.f_sub(mean)?.f_mul(scale)?;
                Ok(if *bgr { prepared.f_flip([1])? } else { prepared })
            }
        }
    }

    /// The gradient with respect to the image, given that with respect to what [`Self::apply`] returns, a float32 tensor
    /// that nothing else reads.
    pub(super) fn backward(&self, mut gradient: Tensor) -> Result<Tensor, RenderError> {
        Ok(match self {
            Self::Uniform { scale, .. } => gradient.f_mul_scalar_(f64::from(*scale))?,
            Self::PerChannel { scale, bgr: false, .. } => gradient.f_mul_(scale)?,
            Self::PerChannel { scale, bgr: true, .. } => gradient.f_flip([1])?.f_mul_(scale)?,
        })
    }
}
