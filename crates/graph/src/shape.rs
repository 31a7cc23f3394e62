//! Shapes of layers for a given image size, and what a person wants to know about a layer.

use std::fmt;

use super::{Network, Node, NodeId, Op, Padding};

/// Width of a node's output; it does not depend on the image size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// A feature map of so many channels.
    Map(usize),
    /// Rows of so many features.
    Rows(usize),
}

impl Width {
    pub(super) fn channels(self) -> usize {
        match self {
            Width::Map(channels) | Width::Rows(channels) => channels,
        }
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Width::Map(channels) => write!(f, "a map of {channels} channels"),
            Width::Rows(features) => write!(f, "rows of {features} features"),
        }
    }
}

/// Shape of a node's output for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[1, channels, height, width]`.
    Map {
        /// Channels.
        channels: usize,
        /// Rows of positions.
        height: usize,
        /// Columns of positions.
        width: usize,
    },
    /// `[rows, features]`.
    Rows {
        /// Number of rows.
        rows: usize,
        /// Length of a row.
        features: usize,
    },
}

impl Shape {
    /// Number of values; saturates, so that no model can make it wrap around.
    pub fn len(self) -> usize {
        match self {
            Shape::Map { channels, height, width } => channels.saturating_mul(height).saturating_mul(width),
            Shape::Rows { rows, features } => rows.saturating_mul(features),
        }
    }

    /// Whether there are no values; never true for a shape that [`Network::shapes`] returned.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A layer cannot be computed for an image of this size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{width}×{height} pixels (of the image, or of a tile of it) are too few for layer \"{node}\" or do not fit it: {problem}"
)]
pub struct ShapeError {
    /// The layer that does not fit.
    pub node: String,
    /// Image height in pixels.
    pub height: usize,
    /// Image width in pixels.
    pub width: usize,
    /// What does not fit.
    pub problem: String,
}

/// What the API and the command line tell about a layer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Layer)]
pub struct LayerInfo {
    /// Name to use in an objective.
    pub name: String,
    /// Operation, see [`Op::kind`].
    pub kind: &'static str,
    /// Number of channels (or features).
    pub channels: usize,
    /// Image pixels between neighbouring positions; `null` where the layer has no positions.
    #[schema(required = true)]
    pub stride: Option<usize>,
    /// Image pixels that one position sees along an axis; `null` where it sees the whole image.
    #[schema(required = true)]
    pub receptive_field: Option<usize>,
}

impl Network {
    /// Shapes of `wanted` and everything they need for an image of `height × width`; `None` elsewhere.
    ///
    /// # Errors
    /// [`ShapeError`] when the image is too small for one of the needed layers.
    pub fn shapes(
        &self,
        wanted: &[NodeId],
        height: usize,
        width: usize,
    ) -> Result<Vec<Option<Shape>>, ShapeError> {
        shapes(&self.nodes, &self.needed(wanted), height, width)
    }

    /// Multiply-adds of a convolution or matrix product that gives a value of `shape`; none for other operations.
    pub fn multiply_adds(&self, id: NodeId, shape: Shape) -> f64 {
        let each = match &self.node(id).op {
            Op::Conv2d { weight, .. } => weight.shape[1..].iter().product(),
            Op::MatMul { weight } => weight.shape[0],
            _ => 0,
        };
        shape.len() as f64 * each as f64
    }

    /// Image pixels between neighbouring positions of the deepest of `layers`; 1 where none has positions.
    pub fn stride(&self, layers: &[NodeId]) -> usize {
        let fields = self.fields();
        layers.iter().filter_map(|id| Some(fields[id.0]?.stride)).max().unwrap_or(1)
    }

    /// What a position of each node sees; none where it sees the whole image.
    fn fields(&self) -> Vec<Option<Field>> {
        let mut fields: Vec<Option<Field>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<Option<Field>> = node.inputs.iter().map(|input| fields[input.0]).collect();
            fields.push(field(&node.op, &inputs));
        }
        fields
    }

    /// Describes every layer but the input, in topological order.
    pub fn layers(&self) -> Vec<LayerInfo> {
        let described = self.nodes.iter().zip(self.fields()).enumerate();
        described
            .filter(|(_, (node, _))| !matches!(node.op, Op::Input { .. }))
            .map(|(index, (node, field))| LayerInfo {
                name: node.name.clone(),
                kind: node.op.kind(),
                channels: self.channels(NodeId(index)),
                stride: field.map(|field| field.stride),
                receptive_field: field.and_then(|field| field.size),
            })
            .collect()
    }
}

/// Shapes of the needed ones among checked nodes.
pub(super) fn shapes(
    nodes: &[Node],
    needed: &[bool],
    height: usize,
    width: usize,
) -> Result<Vec<Option<Shape>>, ShapeError> {
    let mut shapes = vec![None; nodes.len()];
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let inputs: Vec<Shape> = node.inputs.iter().filter_map(|input| shapes[input.0]).collect();
        let shape = shape(&node.op, &inputs, height, width).map_err(|problem| ShapeError {
            node: node.name.clone(),
            height,
            width,
            problem,
        })?;
        shapes[index] = Some(shape);
    }
    Ok(shapes)
}

/// Output shape of one checked operation; the caller's network has passed [`super::check`].
fn shape(op: &Op, inputs: &[Shape], height: usize, width: usize) -> Result<Shape, String> {
    match (op, inputs) {
        (Op::Input { channels }, _) if height > 0 && width > 0 => {
            Ok(Shape::Map { channels: *channels, height, width })
        }
        (Op::Input { .. }, _) => Err("it has no pixels".into()),
        (Op::Conv2d { weight, stride, dilation, padding, .. }, [Shape::Map { height, width, .. }]) => {
            let extent = |axis: usize| (weight.shape[2 + axis] - 1) * dilation[axis] + 1;
            let (height, width) = window([*height, *width], [extent(0), extent(1)], *stride, *padding)?;
            Ok(Shape::Map { channels: weight.shape[0], height, width })
        }
        (Op::MaxPool(pool) | Op::AvgPool { window: pool, .. }, [Shape::Map { channels, height, width }]) => {
            let (height, width) = window([*height, *width], pool.kernel, pool.stride, pool.padding)?;
            Ok(Shape::Map { channels: *channels, height, width })
        }
        (Op::Concat, maps) => concat(maps),
        (Op::SliceChannels { channels, .. }, [Shape::Map { height, width, .. }]) => {
            Ok(Shape::Map { channels: *channels, height: *height, width: *width })
        }
        (Op::Add, [a, b]) if a != b => Err(format!("adds {a:?} to {b:?}")),
        (Op::Multiply, [a, b]) => multiply(*a, *b),
        (Op::Pad { before, after }, [Shape::Map { channels, height, width }]) => Ok(Shape::Map {
            channels: *channels,
            height: height + before[0] + after[0],
            width: width + before[1] + after[1],
        }),
        (Op::GlobalAvgPool, [Shape::Map { channels, .. }]) => {
            Ok(Shape::Map { channels: *channels, height: 1, width: 1 })
        }
        (Op::AsMap, [Shape::Rows { rows: 1, features }]) => {
            Ok(Shape::Map { channels: *features, height: 1, width: 1 })
        }
        (Op::AsMap, [Shape::Rows { rows, .. }]) => Err(format!("takes one row for a map, there are {rows}")),
        (Op::SpatialMean, [Shape::Map { channels, .. }]) => Ok(Shape::Rows { rows: 1, features: *channels }),
        (Op::Flatten { features, .. }, [input]) => match input.len() {
            values if values % features == 0 => {
                Ok(Shape::Rows { rows: values / features, features: *features })
            }
            values => Err(format!("{values} values do not divide into rows of {features}")),
        },
        (Op::MatMul { weight }, [Shape::Rows { rows, .. }]) => {
            Ok(Shape::Rows { rows: *rows, features: weight.shape[1] })
        }
        (_, [first, ..]) => Ok(*first),
        (_, []) => Err("it has no input".into()),
    }
}

fn window(
    [height, width]: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> Result<(usize, usize), String> {
    let fit = |n, axis: usize| {
        let out = padding.resolve(axis, n, kernel[axis], stride[axis]).map(|(out, _, _)| out);
        out.ok_or_else(|| {
            format!("a {}×{} window does not fit {height}×{width} positions", kernel[0], kernel[1])
        })
    };
    Ok((fit(height, 0)?, fit(width, 1)?))
}

/// Of equal shapes, or of a map and a gate of one position.
fn multiply(a: Shape, b: Shape) -> Result<Shape, String> {
    let is_gate = |shape| matches!(shape, Shape::Map { height: 1, width: 1, .. });
    match (a, b) {
        _ if a == b => Ok(a),
        (Shape::Map { .. }, Shape::Map { .. }) if is_gate(b) => Ok(a),
        (Shape::Map { .. }, Shape::Map { .. }) if is_gate(a) => Ok(b),
        _ => Err(format!("multiplies {a:?} and {b:?}")),
    }
}

fn concat(maps: &[Shape]) -> Result<Shape, String> {
    let mut joined: Option<(usize, usize, usize)> = None;
    for map in maps {
        let Shape::Map { channels, height, width } = *map else {
            return Err("joins something that is not a map".into());
        };
        joined = match joined {
            None => Some((channels, height, width)),
            Some((sum, h, w)) if (h, w) == (height, width) => Some((sum + channels, h, w)),
            Some((_, h, w)) => {
                return Err(format!("joins maps of {h}×{w} and {height}×{width} positions"));
            }
        };
    }
    let (channels, height, width) = joined.ok_or("has no inputs to join")?;
    Ok(Shape::Map { channels, height, width })
}

/// Receptive field along the taller axis: what one position sees, and the distance to its neighbour.
#[derive(Clone, Copy)]
struct Field {
    /// None for the whole image.
    size: Option<usize>,
    stride: usize,
}

/// The usual recurrence: a window of `k` widens the field by `(k − 1)` strides of its input
/// (Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019).
fn field(op: &Op, inputs: &[Option<Field>]) -> Option<Field> {
    // A gate of one position sees the whole image, and so does what it multiplies.
    let widest = || {
        let whole = inputs.iter().any(Option::is_none);
        let known = inputs.iter().copied().flatten();
        let widest = known.max_by_key(|field| field.size.unwrap_or(usize::MAX))?;
        Some(Field { size: widest.size.filter(|_| !whole), ..widest })
    };
    let slide = |kernel: usize, stride: usize| {
        let input = widest()?;
        // Saturating, as a chain of the largest strides that are allowed overflows after four.
        let widened = (kernel - 1).saturating_mul(input.stride);
        let size = input.size.map(|size| size.saturating_add(widened));
        Some(Field { size, stride: input.stride.saturating_mul(stride) })
    };
    match op {
        Op::Input { .. } => Some(Field { size: Some(1), stride: 1 }),
        Op::Conv2d { weight, stride, dilation, .. } => {
            let extent = |axis: usize| (weight.shape[2 + axis] - 1) * dilation[axis] + 1;
            slide(extent(0).max(extent(1)), stride[0].max(stride[1]))
        }
        Op::MaxPool(window) | Op::AvgPool { window, .. } => {
            slide(window.kernel[0].max(window.kernel[1]), window.stride[0].max(window.stride[1]))
        }
        Op::SpatialMean | Op::GlobalAvgPool | Op::AsMap | Op::Flatten { .. } | Op::MatMul { .. } => None,
        _ => widest(),
    }
}
