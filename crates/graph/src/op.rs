//! What nodes compute, independent of who computes it. Shapes, widths and checks of each are in `shape` and `check`.

use super::Array;

/// How a sliding window treats the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// TensorFlow's `SAME`: output is `ceil(n / stride)`; the odd pixel of padding goes to the end.
    Same,
    /// No padding.
    Valid,
    /// So many pixels, whatever the size: PyTorch, ONNX and Caffe.
    Explicit {
        /// Above and to the left, `[height, width]`.
        before: [usize; 2],
        /// Below and to the right.
        after: [usize; 2],
        /// Whether a last window may reach beyond the padding, as Caffe's poolings do; it begins within the map or the
        /// padding before it.
        ceil: bool,
    },
}

impl Padding {
    /// So many pixels on every side, `[height, width]`, as PyTorch's layers have it.
    pub fn symmetric(sides: [usize; 2]) -> Self {
        Padding::Explicit { before: sides, after: sides, ceil: false }
    }

    /// Output extent and padding `(before, after)` along one axis of `n` pixels; axis 0 is the height. The padding after
    /// includes what a window of `ceil` reaches beyond it.
    ///
    /// `kernel` is the dilated extent. `None` when the window does not fit (`VALID` on a small input).
    /// Source: TensorFlow's `GetWindowedOutputSize`, PyTorch's `pooling_output_shape`.
    pub fn resolve(
        self,
        axis: usize,
        n: usize,
        kernel: usize,
        stride: usize,
    ) -> Option<(usize, usize, usize)> {
        match self {
            Padding::Same => {
                let out = n.div_ceil(stride);
                let total = (out.checked_sub(1)? * stride + kernel).saturating_sub(n);
                Some((out, total / 2, total - total / 2))
            }
            Padding::Valid => Some((n.checked_sub(kernel)? / stride + 1, 0, 0)),
            Padding::Explicit { before, after, ceil } => {
                let (before, after) = (before[axis], after[axis]);
                let room = (n + before + after).checked_sub(kernel)?;
                if !ceil {
                    return Some((room / stride + 1, before, after));
                }
                let last = room.div_ceil(stride);
                let last = if last * stride >= n + before { last - 1 } else { last };
                Some((last + 1, before, after.max((last * stride + kernel).saturating_sub(n + before))))
            }
        }
    }
}

/// A sliding window, `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Kernel extent, undilated.
    pub kernel: [usize; 2],
    /// Step between neighbouring outputs.
    pub stride: [usize; 2],
    /// Border treatment.
    pub padding: Padding,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image after the model's preprocessing.
    Input {
        /// Number of colour channels.
        channels: usize,
    },
    /// Cross-correlation. `weight` is `[out, in / groups, kh, kw]`.
    Conv2d {
        /// `[out, in / groups, kh, kw]`.
        weight: Array,
        /// `[out]`, where the bias is part of the convolution.
        bias: Option<Array>,
        /// Stride, `[height, width]`.
        stride: [usize; 2],
        /// Dilation, `[height, width]`.
        dilation: [usize; 2],
        /// Border treatment.
        padding: Padding,
        /// Number of channel groups; equal to the input channels for a depthwise convolution.
        groups: usize,
    },
    /// Adds `[C]` to every position or row.
    BiasAdd {
        /// `[C]`.
        bias: Array,
    },
    /// `scale · x + bias`, channel by channel or feature by feature: a batch normalisation that is only evaluated.
    Scale {
        /// `[C]`.
        scale: Array,
        /// `[C]`, where something is added.
        bias: Option<Array>,
    },
    /// Zeros around a map.
    Pad {
        /// Rows above and columns to the left.
        before: [usize; 2],
        /// Rows below and columns to the right.
        after: [usize; 2],
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` where it is positive, `slope · x` elsewhere; the slope is not negative.
    LeakyRelu {
        /// The slope.
        slope: f32,
    },
    /// `min(max(x, low), high)`.
    Clip {
        /// −∞ where there is no bound.
        low: f32,
        /// ∞ where there is no bound.
        high: f32,
    },
    /// `1 / (1 + e^−x)`.
    Sigmoid,
    /// `x · sigmoid(x)`, also called SiLU.
    Swish,
    /// `x · min(max(x + 3, 0), 6) / 6`.
    HardSwish,
    /// Maximum over a window; the padding never wins.
    MaxPool(Window),
    /// Mean over a window.
    AvgPool {
        /// The window.
        window: Window,
        /// Whether explicit padding counts as zeros. What a window of `ceil` reaches beyond it never counts.
        count_padding: bool,
    },
    /// TensorFlow's local response normalisation over channels:
    /// `x / (bias + alpha · Σ_{|i−c| ≤ radius} x_i²)^beta`, alpha undivided.
    Lrn {
        /// Channels to either side that take part.
        radius: usize,
        /// Added to the scaled sum.
        bias: f32,
        /// Scale of the sum of squares.
        alpha: f32,
        /// Exponent of the divisor.
        beta: f32,
    },
    /// Joins maps along the channels.
    Concat,
    /// Some of the channels, one after another.
    SliceChannels {
        /// The first.
        start: usize,
        /// How many.
        channels: usize,
    },
    /// Mixes the channels of `groups` groups: the first of each group, the second of each, and so on (ShuffleNet).
    ChannelShuffle {
        /// Number of groups; divides the channels.
        groups: usize,
    },
    /// Element-wise sum of two maps of the same shape.
    Add,
    /// Element-wise product of two maps of the same shape, or of a map and one of one position: a squeeze-and-excite
    /// gate. Of rows, too.
    Multiply,
    /// Mean over all positions: a map becomes `[N, C]` rows.
    SpatialMean,
    /// Mean over all positions, as a map of one position.
    GlobalAvgPool,
    /// Takes rows for maps of one position; one row for each image.
    AsMap,
    /// Flattens maps into rows of `features`.
    Flatten {
        /// Length of a row.
        features: usize,
        /// Whether a channel's positions come together, `[N, C, H, W]`, as PyTorch and Caffe have it; otherwise a position's
        /// channels do, `[N, H, W, C]`, as TensorFlow has it.
        channels_first: bool,
    },
    /// Rows times `[in, out]`.
    MatMul {
        /// `[in, out]`.
        weight: Array,
    },
    /// Softmax over channels or features.
    Softmax,
    /// Passes its input on under another name.
    Identity,
}

impl Op {
    /// The name shown to people and in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Conv2d { .. } => "conv2d",
            Op::BiasAdd { .. } => "bias_add",
            Op::Relu => "relu",
            Op::Relu6 => "relu6",
            Op::Scale { .. } => "scale",
            Op::Pad { .. } => "pad",
            Op::LeakyRelu { .. } => "leaky_relu",
            Op::Clip { .. } => "clip",
            Op::Sigmoid => "sigmoid",
            Op::Swish => "swish",
            Op::HardSwish => "hard_swish",
            Op::MaxPool(_) => "max_pool",
            Op::AvgPool { .. } => "avg_pool",
            Op::Lrn { .. } => "lrn",
            Op::Concat => "concat",
            Op::SliceChannels { .. } => "slice_channels",
            Op::ChannelShuffle { .. } => "channel_shuffle",
            Op::Add => "add",
            Op::Multiply => "multiply",
            Op::GlobalAvgPool => "global_avg_pool",
            Op::AsMap => "as_map",
            Op::SpatialMean => "spatial_mean",
            Op::Flatten { .. } => "flatten",
            Op::MatMul { .. } => "mat_mul",
            Op::Softmax => "softmax",
            Op::Identity => "identity",
        }
    }
}
