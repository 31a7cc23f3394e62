//! The checks behind [`Network::new`](super::Network::new): a network that passes them can be executed on
//! any image that is large enough, so the executor need not look for malformed models.

use super::{Array, Node, Op, Padding, Window, shape::Width};

/// Largest kernel (dilated), stride, dilation and radius. No real network comes near it, and offsets
/// within an image cannot overflow below it.
pub const MAX_EXTENT: usize = 1 << 16;

/// Most rows or columns of zeros on one side of a map.
pub const MAX_PADDING: usize = 256;

/// Widest layer, in channels or features.
pub const MAX_WIDTH: usize = 1 << 24;

/// What is wrong with a network, and where.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphError {
    /// Two nodes share a name.
    #[error("two nodes are called \"{0}\"; names must be unique")]
    DuplicateName(String),
    /// The network has no image input, or several.
    #[error("a network needs exactly one input node; this one has {0}")]
    InputCount(usize),
    /// A node reads one that does not precede it.
    #[error("node \"{node}\" reads input number {index}, which does not precede it")]
    Order {
        /// The reading node.
        node: String,
        /// Which of its inputs.
        index: usize,
    },
    /// A node's weights, inputs or attributes do not fit together.
    #[error("node \"{node}\" ({kind}): {problem}")]
    Node {
        /// The node at fault.
        node: String,
        /// Its [`Op::kind`].
        kind: &'static str,
        /// What was found and what is allowed.
        problem: String,
    },
}

/// Output width (channels or features) of a node, checked against its weights and the widths of the nodes before it.
pub(super) fn width_of(node: &Node, widths: &[Width]) -> Result<Width, GraphError> {
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for (index, input) in node.inputs.iter().enumerate() {
        let width = widths.get(input.0).copied();
        inputs.push(width.ok_or_else(|| GraphError::Order { node: node.name.clone(), index })?);
    }
    width(&node.op, &inputs).and_then(narrow).map_err(|problem| GraphError::Node {
        node: node.name.clone(),
        kind: node.op.kind(),
        problem,
    })
}

/// Refuses widths beyond [`MAX_WIDTH`]: a few nodes that join a map with itself double it each time.
fn narrow(width: Width) -> Result<Width, String> {
    if width.channels() <= MAX_WIDTH {
        Ok(width)
    } else {
        Err(format!("puts out {width}, at most {MAX_WIDTH} are allowed"))
    }
}

/// Output width of one operation, or what does not fit.
fn width(op: &Op, inputs: &[Width]) -> Result<Width, String> {
    match op {
        Op::Input { channels } => {
            arity(inputs, 0)?;
            positive("channels", *channels)?;
            Ok(Width::Map(*channels))
        }
        Op::Conv2d { weight, bias, stride, dilation, padding, groups } => {
            let channels = map(inputs)?;
            let width = conv_width(channels, weight, bias.as_ref(), *stride, *dilation, *groups)?;
            let reach = |axis: usize| (weight.shape[2 + axis] - 1) * dilation[axis] + 1;
            within_window(*padding, [reach(0), reach(1)])?;
            Ok(width)
        }
        Op::BiasAdd { bias } => {
            let input = one(inputs)?;
            per_channel("bias", bias, input)?;
            Ok(input)
        }
        Op::Scale { scale, bias } => {
            let input = one(inputs)?;
            per_channel("scale", scale, input)?;
            bias.as_ref().map_or(Ok(()), |bias| per_channel("bias", bias, input))?;
            Ok(input)
        }
        Op::Relu | Op::Relu6 | Op::Sigmoid | Op::Swish | Op::HardSwish | Op::Softmax | Op::Identity => {
            one(inputs)
        }
        Op::LeakyRelu { slope } => match one(inputs)? {
            input if slope.is_finite() && *slope >= 0.0 => Ok(input),
            _ => Err(format!("the slope {slope} must be at least 0")),
        },
        Op::Clip { low, high } => match one(inputs)? {
            input if low < high => Ok(input),
            _ => Err(format!("the bounds {low} and {high} must be in order")),
        },
        Op::Pad { before, after } => {
            if before.iter().chain(after).any(|&n| n > MAX_PADDING) {
                return Err(format!("adds {before:?} and {after:?} pixels, at most {MAX_PADDING} a side"));
            }
            map(inputs).map(Width::Map)
        }
        Op::MaxPool(window) | Op::AvgPool { window, .. } => {
            pool(*window)?;
            map(inputs).map(Width::Map)
        }
        Op::GlobalAvgPool => map(inputs).map(Width::Map),
        Op::SliceChannels { start, channels } => match map(inputs)? {
            all if *channels > 0 && start.checked_add(*channels).is_some_and(|end| end <= all) => {
                Ok(Width::Map(*channels))
            }
            all => Err(format!("takes {channels} channels from number {start} on, of {all}")),
        },
        Op::ChannelShuffle { groups } => match map(inputs)? {
            channels if *groups > 0 && channels % groups == 0 => Ok(Width::Map(channels)),
            channels => Err(format!("mixes {groups} groups, which do not divide {channels} channels")),
        },
        Op::AsMap => match one(inputs)? {
            Width::Rows(features) => Ok(Width::Map(features)),
            map @ Width::Map(_) => Err(format!("needs rows, its input is {map}")),
        },
        Op::Lrn { radius, bias, alpha, beta } => {
            if *radius > MAX_EXTENT {
                return Err(format!("radius {radius} exceeds {MAX_EXTENT}"));
            }
            if ![*bias, *alpha, *beta].iter().all(|value| value.is_finite()) {
                return Err(format!("bias {bias}, alpha {alpha} and beta {beta} must be finite"));
            }
            map(inputs).map(Width::Map)
        }
        Op::Concat => {
            if inputs.is_empty() {
                return Err("has no inputs to join".into());
            }
            let mut channels = 0usize;
            for input in inputs {
                channels = channels.saturating_add(map(&[*input])?);
            }
            Ok(Width::Map(channels))
        }
        Op::Add | Op::Multiply => {
            arity(inputs, 2)?;
            if inputs[0] != inputs[1] {
                let does = if matches!(op, Op::Add) { "adds" } else { "multiplies" };
                return Err(format!("{does} {} and {}; both must be alike", inputs[0], inputs[1]));
            }
            Ok(inputs[0])
        }
        Op::SpatialMean => map(inputs).map(Width::Rows),
        Op::Flatten { features, .. } => {
            positive("row length", *features)?;
            one(inputs)?;
            Ok(Width::Rows(*features))
        }
        Op::MatMul { weight } => match (one(inputs)?, &weight.shape[..]) {
            (Width::Rows(features), &[rows, columns]) if rows == features && columns > 0 => {
                finite(weight)?;
                Ok(Width::Rows(columns))
            }
            (input, shape) => Err(format!("multiplies {input} by a weight of shape {shape:?}")),
        },
    }
}

fn conv_width(
    channels: usize,
    weight: &Array,
    bias: Option<&Array>,
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> Result<Width, String> {
    positive("groups", groups)?;
    for value in stride.into_iter().chain(dilation) {
        extent("strides and dilations", value)?;
    }
    let &[out, inner, kernel_h, kernel_w] = &weight.shape[..] else {
        return Err(format!("weight has shape {:?}, needs [out, in, height, width]", weight.shape));
    };
    positive("weight extents", out.min(inner))?;
    for (kernel, dilation) in [(kernel_h, dilation[0]), (kernel_w, dilation[1])] {
        extent("kernel extents", kernel)?;
        extent("dilated kernel extents", (kernel - 1) * dilation + 1)?;
    }
    if inner.checked_mul(groups) != Some(channels) || out % groups != 0 {
        return Err(format!(
            "weight {:?} in {groups} group(s) does not fit an input of {channels} channels",
            weight.shape
        ));
    }
    if let Some(bias) = bias {
        if bias.shape != [out] {
            return Err(format!("bias has shape {:?}, needs [{out}]", bias.shape));
        }
        finite(bias)?;
    }
    finite(weight)?;
    Ok(Width::Map(out))
}

/// A sliding window of a pooling.
fn pool(window: Window) -> Result<(), String> {
    for value in window.kernel.into_iter().chain(window.stride) {
        extent("window extents and strides", value)?;
    }
    within_window(window.padding, window.kernel)
}

/// Every window sees a pixel of the map, so explicit padding is less than the window's extent.
fn within_window(padding: Padding, extent: [usize; 2]) -> Result<(), String> {
    let Padding::Explicit { before, after, .. } = padding else { return Ok(()) };
    if (0..2).all(|axis| before[axis].max(after[axis]) < extent[axis]) {
        return Ok(());
    }
    Err(format!("pads by {before:?} and {after:?}; a window of {extent:?} allows less than that"))
}

fn per_channel(what: &str, values: &Array, input: Width) -> Result<(), String> {
    if values.shape != [input.channels()] {
        let channels = input.channels();
        return Err(format!("{what} has shape {:?}, the input needs [{channels}]", values.shape));
    }
    finite(values)
}

fn arity(inputs: &[Width], expected: usize) -> Result<(), String> {
    if inputs.len() == expected {
        Ok(())
    } else {
        Err(format!("has {} inputs, needs {expected}", inputs.len()))
    }
}

fn one(inputs: &[Width]) -> Result<Width, String> {
    arity(inputs, 1)?;
    Ok(inputs[0])
}

fn map(inputs: &[Width]) -> Result<usize, String> {
    match one(inputs)? {
        Width::Map(channels) => Ok(channels),
        rows @ Width::Rows(_) => Err(format!("needs a feature map, its input is {rows}")),
    }
}

fn extent(what: &str, value: usize) -> Result<(), String> {
    positive(what, value)?;
    if value <= MAX_EXTENT { Ok(()) } else { Err(format!("{what} must be at most {MAX_EXTENT}")) }
}

/// One infinity in a weight would turn whole dreams into NaN, many layers later.
fn finite(weight: &Array) -> Result<(), String> {
    let bad = weight.data.iter().find(|value| !value.is_finite());
    bad.map_or(Ok(()), |value| Err(format!("weight of shape {:?} holds the value {value}", weight.shape)))
}

fn positive(what: &str, value: usize) -> Result<(), String> {
    if value > 0 { Ok(()) } else { Err(format!("{what} must be at least 1")) }
}
