//! The checks behind [`Network::new`](super::Network::new): a network that passes them can be executed on
//! any image that is large enough, so the executor need not look for malformed models.

use std::collections::{HashMap, hash_map::Entry};

use super::{Array, Node, NodeId, Op, shape::Width};

/// What is wrong with a network, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
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

/// Name index and image input of `nodes`.
pub(super) fn index(nodes: &[Node]) -> Result<(HashMap<String, NodeId>, NodeId), GraphError> {
    let mut by_name = HashMap::with_capacity(nodes.len());
    let mut inputs = Vec::new();
    for (position, node) in nodes.iter().enumerate() {
        match by_name.entry(node.name.clone()) {
            Entry::Vacant(slot) => slot.insert(NodeId(position)),
            Entry::Occupied(_) => return Err(GraphError::DuplicateName(node.name.clone())),
        };
        if matches!(node.op, Op::Input { .. }) {
            inputs.push(NodeId(position));
        }
    }
    match inputs[..] {
        [input] => Ok((by_name, input)),
        _ => Err(GraphError::InputCount(inputs.len())),
    }
}

/// Output width (channels or features) of every node, checking each against its inputs and weights.
pub(super) fn widths(nodes: &[Node]) -> Result<Vec<Width>, GraphError> {
    let mut widths: Vec<Width> = Vec::with_capacity(nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (index, input) in node.inputs.iter().enumerate() {
            let width = (input.0 < position).then(|| widths[input.0]);
            inputs.push(width.ok_or_else(|| GraphError::Order {
                node: node.name.clone(),
                index,
            })?);
        }
        let width = width(&node.op, &inputs).map_err(|problem| GraphError::Node {
            node: node.name.clone(),
            kind: node.op.kind(),
            problem,
        })?;
        widths.push(width);
    }
    Ok(widths)
}

/// Output width of one operation, or what does not fit.
fn width(op: &Op, inputs: &[Width]) -> Result<Width, String> {
    match op {
        Op::Input { channels } => {
            arity(inputs, 0)?;
            positive("channels", *channels)?;
            Ok(Width::Map(*channels))
        }
        Op::Conv2d {
            weight,
            bias,
            stride,
            dilation,
            groups,
            ..
        } => {
            let channels = map(inputs)?;
            conv_width(channels, weight, bias.as_ref(), *stride, *dilation, *groups)
        }
        Op::BiasAdd { bias } => {
            let input = one(inputs)?;
            if bias.shape != [input.channels()] {
                return Err(format!(
                    "bias has shape {:?}, the input needs [{}]",
                    bias.shape,
                    input.channels()
                ));
            }
            Ok(input)
        }
        Op::Relu | Op::Relu6 | Op::Softmax | Op::Identity => one(inputs),
        Op::MaxPool(window) | Op::AvgPool(window) => {
            for extent in window.kernel.into_iter().chain(window.stride) {
                positive("window extents and strides", extent)?;
            }
            map(inputs).map(Width::Map)
        }
        Op::Lrn {
            bias, alpha, beta, ..
        } => {
            if ![*bias, *alpha, *beta].iter().all(|value| value.is_finite()) {
                return Err(format!(
                    "bias {bias}, alpha {alpha} and beta {beta} must be finite"
                ));
            }
            map(inputs).map(Width::Map)
        }
        Op::Concat => {
            if inputs.is_empty() {
                return Err("has no inputs to join".into());
            }
            let channels = inputs
                .iter()
                .map(|input| map(&[*input]))
                .sum::<Result<usize, _>>()?;
            Ok(Width::Map(channels))
        }
        Op::Add => {
            arity(inputs, 2)?;
            if inputs[0] != inputs[1] {
                return Err(format!(
                    "adds {} to {}; both must be alike",
                    inputs[0], inputs[1]
                ));
            }
            Ok(inputs[0])
        }
        Op::SpatialMean => map(inputs).map(Width::Rows),
        Op::Flatten { features } => {
            positive("row length", *features)?;
            one(inputs)?;
            Ok(Width::Rows(*features))
        }
        Op::MatMul { weight } => match (one(inputs)?, &weight.shape[..]) {
            (Width::Rows(features), &[rows, columns]) if rows == features && columns > 0 => {
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
    for extent in stride.into_iter().chain(dilation).chain([groups]) {
        positive("strides, dilations and groups", extent)?;
    }
    let &[out, inner, kernel_h, kernel_w] = &weight.shape[..] else {
        return Err(format!(
            "weight has shape {:?}, needs [out, in, height, width]",
            weight.shape
        ));
    };
    for extent in [out, inner, kernel_h, kernel_w] {
        positive("weight extents", extent)?;
    }
    if inner.checked_mul(groups) != Some(channels) || out % groups != 0 {
        return Err(format!(
            "weight {:?} in {groups} group(s) does not fit an input of {channels} channels",
            weight.shape
        ));
    }
    match bias {
        Some(bias) if bias.shape != [out] => {
            Err(format!("bias has shape {:?}, needs [{out}]", bias.shape))
        }
        _ => Ok(Width::Map(out)),
    }
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

fn positive(what: &str, value: usize) -> Result<(), String> {
    if value > 0 {
        Ok(())
    } else {
        Err(format!("{what} must be at least 1"))
    }
}
