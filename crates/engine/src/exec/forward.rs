//! The forward pass, and what it saves for the backward pass.

use reverie_kernels::MaxPool;
use tch::{Kind, Tensor};

use super::{
    super::{
        RenderError,
        kernels::{SavedLrn, is_supported, lrn_forward, max_pool_forward, pool_geometry},
    },
    Executor,
    elementwise::{activation, scaled},
    ints,
    ownership::Ownership,
    params::NodeParams,
    plan::{FusedOps, Plan, Role},
    product,
    window::{Padded, average, pad},
};
use reverie_graph::{NodeId, Op, Window};

/// What a node saves for its derivative.
pub(super) enum SavedForBackward {
    /// Not needed, or nothing.
    Nothing,
    /// Rows and columns of the input.
    Size([i64; 2]),
    /// The output.
    Output(Tensor),
    /// Of a convolution whose backward pass includes that of the ReLU before it: the input, and the ReLU's upper limit.
    ReluOutput { x: Tensor, limit: f32 },
    /// Of a maximum: the padded input, which the derivative only measures, where the maxima were, and the rows and columns before padding.
    LibraryMaxPool { padded: Padded, indices: Tensor, size: [i64; 2] },
    /// The input.
    Values(Tensor),
    /// Both factors of a product.
    Factors([Tensor; 2]),
    /// The input, which the derivative only measures.
    Measured(Tensor),
    /// Of a maximum that our own kernel found: which position of each window it was.
    OwnMaxPool { pool: MaxPool, indices: Tensor },
    /// Of a local response normalisation: input, sum and power of the sum.
    Lrn { x: Tensor, sums: Tensor, power: Tensor },
    /// Of one that our own kernel computed.
    LrnInput(SavedLrn),
    /// Of a ReLU whose backward pass is part of its reader's.
    InReader,
    /// Channels of each input.
    Channels(Vec<i64>),
    /// Shape of the input.
    Shape(Vec<i64>),
}

impl SavedForBackward {
    /// Whether the backward pass includes that of the ReLU before.
    fn is_through_relu(&self) -> bool {
        match self {
            SavedForBackward::OwnMaxPool { pool, .. } => pool.through_relu,
            SavedForBackward::LrnInput(saved) => saved.through_relu,
            SavedForBackward::ReluOutput { .. } => true,
            _ => false,
        }
    }

    /// Whether the backward pass reads the values of the node's inputs.
    pub(super) fn has_input(&self) -> bool {
        match self {
            SavedForBackward::Values(_)
            | SavedForBackward::Factors(_)
            | SavedForBackward::ReluOutput { .. }
            | SavedForBackward::Lrn { .. }
            | SavedForBackward::LrnInput(_) => true,
            // Two of these have the input, but only its shape matters.
            SavedForBackward::LibraryMaxPool { .. }
            | SavedForBackward::Measured(_)
            | SavedForBackward::Nothing
            | SavedForBackward::Size(_)
            | SavedForBackward::Output(_)
            | SavedForBackward::OwnMaxPool { .. }
            | SavedForBackward::InReader
            | SavedForBackward::Channels(_)
            | SavedForBackward::Shape(_) => false,
        }
    }

    /// Whether the backward pass reads the values of the node's output.
    pub(super) fn has_output(&self) -> bool {
        matches!(self, SavedForBackward::Output(_))
    }
}

impl Executor {
    /// Runs what `wanted` needs. Gives what every node saves, if `keep` says that a backward pass follows, and the
    /// activations.
    pub(super) fn run(
        &self,
        image: &Tensor,
        wanted: &[NodeId],
        keep: bool,
    ) -> Result<(Vec<SavedForBackward>, Vec<Tensor>), RenderError> {
        let network = self.network();
        let (images, _, height, width) = image.size4()?;
        let shapes = network.shapes(wanted, height as usize, width as usize)?;
        let Plan { roles, mut readers, relu_limits } = self.plan(wanted);
        let mut values: Vec<Option<Tensor>> = roles.iter().map(|_| None).collect();
        let mut saved: Vec<SavedForBackward> = roles.iter().map(|_| SavedForBackward::Nothing).collect();
        let mut ownership = Ownership::new(roles.len());
        values[network.input().0] = Some(self.prepare(image)?);
        ownership.provide(network.input());
        for (index, (node, role)) in network.nodes().iter().zip(roles).enumerate() {
            if matches!(role, Role::Idle) || matches!(node.op, Op::Input { .. }) {
                continue;
            }
            let mut inputs = Vec::with_capacity(node.inputs.len());
            let mut read = Vec::with_capacity(node.inputs.len());
            for &input in &node.inputs {
                readers[input.0] -= 1;
                // The last reader takes the value.
                let last = readers[input.0] == 0;
                let value = if last {
                    read.push(input);
                    values[input.0].take()
                } else {
                    values[input.0].as_ref().map(Tensor::shallow_clone)
                };
                let value = value.ok_or_else(|| RenderError::Engine("an activation is gone".into()))?;
                // Autograd, which the tests compare with, must see every value as it was.
                let owned = last && keep && ownership.may_overwrite(node, input);
                inputs.push(Operand { value, owned });
            }
            let id = NodeId(index);
            let (value, of_node) = match role {
                Role::Runs(fused) => self.timed(
                    || self.apply(id, inputs, fused, relu_limits[index]),
                    |profile, seconds| profile.forward(network, id, shapes[index], images, seconds),
                )?,
                _ => fused_value(&node.op, inputs)?,
            };
            read.into_iter().for_each(|input| ownership.release(input));
            ownership.record(id, node, matches!(role, Role::Fused), &of_node);
            values[index] = Some(value);
            if keep {
                if of_node.is_through_relu() {
                    saved[node.inputs[0].0] = SavedForBackward::InReader;
                }
                saved[index] = of_node;
            }
        }
        let layers = wanted.iter().map(|id| values[id.0].as_ref().map(Tensor::shallow_clone));
        let layers = layers.collect::<Option<_>>();
        let layers = layers.ok_or_else(|| RenderError::Engine("a wanted layer was not computed".into()))?;
        Ok((saved, layers))
    }

    /// One operation. What [`Network::new`](reverie_graph::Network::new) has checked is not checked again.
    fn apply(
        &self,
        id: NodeId,
        mut inputs: Vec<Operand>,
        fused: FusedOps,
        relu_limit: Option<f32>,
    ) -> Result<(Tensor, SavedForBackward), RenderError> {
        let op = &self.network().node(id).op;
        let missing = || RenderError::Engine(format!("{} lacks an operand", op.kind()));
        if matches!(op, Op::Concat) {
            let parts: Vec<&Tensor> = inputs.iter().map(|input| &input.value).collect();
            let channels = parts.iter().map(|part| part.size4().map(|(_, channels, ..)| channels));
            let channels = channels.collect::<Result<_, _>>()?;
            return Ok((Tensor::f_cat(&parts, 1)?, SavedForBackward::Channels(channels)));
        }
        let second = if inputs.len() > 1 { inputs.pop() } else { None };
        let Operand { value: mut x, owned } = inputs.pop().ok_or_else(missing)?;
        Ok(match (op, &self.params[id.0]) {
            (Op::Conv2d { .. }, NodeParams::Convolution(convolution)) => {
                let bias = match fused.bias.map(|bias| &self.params[bias.0]) {
                    Some(NodeParams::Bias(bias)) => Some(bias.f_reshape([-1])?),
                    _ => None,
                };
                let y = convolution.forward(&self.threads, &x, bias.as_ref(), fused.activation)?;
                match relu_limit {
                    Some(limit) if convolution.fuses_relu(&x)? => {
                        (y, SavedForBackward::ReluOutput { x, limit })
                    }
                    _ => (y, SavedForBackward::Size(rows_and_columns(&x)?)),
                }
            }
            (Op::BiasAdd { .. }, NodeParams::Bias(bias)) => {
                (if owned { x.f_add_(bias)? } else { x.f_add(bias)? }, SavedForBackward::Nothing)
            }
            (Op::Conv2d { .. }, NodeParams::RepeatedConvolution(convolution)) => {
                let size = rows_and_columns(&x)?;
                (convolution.forward(&self.threads, &x, self.layout)?, SavedForBackward::Size(size))
            }
            (Op::MatMul { .. }, NodeParams::RepeatedMatrix(matrix)) => {
                (matrix.forward(&x)?, SavedForBackward::Nothing)
            }
            (Op::MatMul { .. }, NodeParams::Matrix(weight)) => {
                (product(&x, weight)?, SavedForBackward::Nothing)
            }
            (Op::Lrn { .. }, NodeParams::Lrn(lrn)) => {
                let own = match self.gpu {
                    Some(gpu) => gpu.lrn_forward(lrn.params, &x)?,
                    None if self.library_only => None,
                    None => lrn_forward(&self.threads, lrn.params, &x)?,
                };
                if let Some(y) = own {
                    (y, SavedForBackward::LrnInput(SavedLrn { x, through_relu: relu_limit.is_some() }))
                } else {
                    let (y, sums, power) = lrn.forward(&x)?;
                    (y, SavedForBackward::Lrn { x, sums, power })
                }
            }
            (Op::Relu, _) => kept(if owned { x.f_relu_()? } else { x.f_relu()? }),
            (Op::Relu6, _) => kept(if owned { x.f_clamp_(0.0, 6.0)? } else { x.f_clamp(0.0, 6.0)? }),
            (Op::MaxPool(window), _) => self.max_pool(&x, *window, relu_limit.is_some())?,
            (Op::AvgPool { window, count_padding }, _) => {
                (average(&x, *window, *count_padding)?, SavedForBackward::Measured(x))
            }
            (Op::Add, _) => (x.f_add(&second.ok_or_else(missing)?.value)?, SavedForBackward::Nothing),
            (Op::Multiply, _) => {
                let second = second.ok_or_else(missing)?.value;
                (x.f_mul(&second)?, SavedForBackward::Factors([x, second]))
            }
            (Op::Scale { .. }, NodeParams::Scale { scale, bias }) => {
                (scaled(x, owned, scale, bias.as_ref())?, SavedForBackward::Nothing)
            }
            (Op::Pad { before, after }, _) => {
                let [[top, left], [bottom, right]] = [ints(*before), ints(*after)];
                let size = rows_and_columns(&x)?;
                let padded = x.f_pad([left, right, top, bottom], "constant", 0.0)?;
                (padded, SavedForBackward::Size(size))
            }
            (Op::SpatialMean, _) => (
                x.f_mean_dim(&[2i64, 3][..], false, None::<Kind>)?,
                SavedForBackward::Size(rows_and_columns(&x)?),
            ),
            (Op::GlobalAvgPool, _) => (
                x.f_mean_dim(&[2i64, 3][..], true, None::<Kind>)?,
                SavedForBackward::Size(rows_and_columns(&x)?),
            ),
            (Op::SliceChannels { start, channels }, _) => {
                let part = x.f_narrow(1, *start as i64, *channels as i64)?;
                (self.layout.arrange(&part)?, SavedForBackward::Channels(vec![x.size4()?.1]))
            }
            (Op::ChannelShuffle { groups }, _) => {
                (self.layout.arrange(&x.f_channel_shuffle(*groups as i64)?)?, SavedForBackward::Nothing)
            }
            (Op::AsMap, _) => {
                let (rows, features) = x.size2()?;
                (x.f_reshape([rows, features, 1, 1])?, SavedForBackward::Shape(x.size()))
            }
            (Op::Flatten { features, channels_first }, _) => {
                let fits = x.dim() != 4 || *channels_first;
                let rows = if fits { x.shallow_clone() } else { x.f_permute([0, 2, 3, 1])? };
                (rows.f_reshape([-1, *features as i64])?, SavedForBackward::Shape(x.size()))
            }
            (Op::Identity | Op::Input { .. }, _) => (x, SavedForBackward::Nothing),
            (op, _) => match activation(op, &x)? {
                Some(activated) => activated,
                None => return Err(RenderError::Engine(format!("{} lacks its weights", op.kind()))),
            },
        })
    }

    /// Max-pooling.
    fn max_pool(
        &self,
        x: &Tensor,
        window: Window,
        through_relu: bool,
    ) -> Result<(Tensor, SavedForBackward), RenderError> {
        let Window { kernel, stride, padding } = window;
        let size = rows_and_columns(x)?;
        if let Some(pool) = pool_geometry(size, window, through_relu)
            && let Some((y, indices)) = match self.gpu {
                Some(gpu) => gpu.max_pool_forward(&pool, x)?,
                None if self.library_only || !is_supported(x) => None,
                None => max_pool_forward(&self.threads, &pool, x)?,
            }
        {
            return Ok((y, SavedForBackward::OwnMaxPool { pool, indices }));
        }
        let padded = pad(x, kernel, stride, padding, f64::NEG_INFINITY)?;
        let (value, indices) = padded.map.f_max_pool2d_with_indices(
            ints(kernel),
            ints(stride),
            padded.symmetric,
            [1, 1],
            false,
        )?;
        Ok((value, SavedForBackward::LibraryMaxPool { padded, indices, size }))
    }
}

/// An input of a node.
struct Operand {
    value: Tensor,
    /// Whether nothing else has its memory.
    owned: bool,
}

/// A node that is fused into its producer: its value is the input.
fn fused_value(op: &Op, mut inputs: Vec<Operand>) -> Result<(Tensor, SavedForBackward), RenderError> {
    let input = inputs.pop().ok_or_else(|| RenderError::Engine(format!("{} lacks an operand", op.kind())))?;
    Ok(match op {
        Op::Relu | Op::Relu6 => kept(input.value),
        _ => (input.value, SavedForBackward::Nothing),
    })
}

fn kept(value: Tensor) -> (Tensor, SavedForBackward) {
    (value.shallow_clone(), SavedForBackward::Output(value))
}

/// Rows and columns.
fn rows_and_columns(x: &Tensor) -> Result<[i64; 2], RenderError> {
    let (_, _, height, width) = x.size4()?;
    Ok([height, width])
}
