//! The forward pass, and what it leaves for the way back.

use tch::{Kind, Tensor};

use super::{
    super::{
        RenderError,
        native::{self, Normalised, Pool},
    },
    Executor, ints,
    kernel::Kernel,
    plan::{Along, Plan, Role},
    product,
    window::{Padded, average, pad},
};
use reverie_graph::{NodeId, Op, Window};

/// What a node leaves for its derivative.
pub(super) enum Trace {
    /// Not needed, or nothing.
    Nothing,
    /// Rows and columns of the input.
    Size([i64; 2]),
    /// The output.
    Output(Tensor),
    /// Of a convolution that takes the rectifier before it along: the input, and the rectifier's upper limit.
    Rectified { x: Tensor, limit: f32 },
    /// Of a maximum: the padded input, which the derivative only measures, where the maxima were, and what was padded.
    Maxima { padded: Padded, indices: Tensor, size: [i64; 2] },
    /// The input, which the derivative only measures.
    Input(Tensor),
    /// Of a maximum that our own loops found: which taps the maxima were.
    Taps { pool: Pool, taps: Tensor },
    /// Of a local response normalisation: input, sum and power of the sum.
    Lrn { x: Tensor, sums: Tensor, power: Tensor },
    /// Of one that our own loops made.
    Response(Normalised),
    /// Of a rectifier: its reader's derivative is that of both.
    Passed,
    /// Channels of each input.
    Channels(Vec<i64>),
    /// Shape of the input.
    Shape(Vec<i64>),
}

impl Trace {
    /// Whether the derivative is that of the rectifier before it too.
    fn is_through_rectifier(&self) -> bool {
        match self {
            Trace::Taps { pool, .. } => pool.rectified,
            Trace::Response(normalised) => normalised.rectified,
            Trace::Rectified { .. } => true,
            _ => false,
        }
    }
}

impl Executor {
    /// Runs what `wanted` needs: the traces of all nodes, if `keep` says that there will be a way back, and the
    /// activations.
    pub(super) fn run(
        &self,
        image: &Tensor,
        wanted: &[NodeId],
        keep: bool,
    ) -> Result<(Vec<Trace>, Vec<Tensor>), RenderError> {
        let network = self.network();
        let (images, _, height, width) = image.size4()?;
        let shapes = network.shapes(wanted, height as usize, width as usize)?;
        let Plan { roles, mut readers, rectified } = self.plan(wanted);
        let mut values: Vec<Option<Tensor>> = roles.iter().map(|_| None).collect();
        let mut traces: Vec<Trace> = roles.iter().map(|_| Trace::Nothing).collect();
        values[network.input().0] = Some(self.prepare(image)?);
        for (index, (node, role)) in network.nodes().iter().zip(roles).enumerate() {
            if matches!(role, Role::Idle) || matches!(node.op, Op::Input { .. }) {
                continue;
            }
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                readers[input.0] -= 1;
                // The last reader takes the value, and may write over it.
                let last = readers[input.0] == 0;
                let value = if last {
                    values[input.0].take()
                } else {
                    values[input.0].as_ref().map(Tensor::shallow_clone)
                };
                let value = value.ok_or_else(|| RenderError::Engine("an activation is gone".into()))?;
                let own = last && keep && self.owns_output(*input);
                inputs.push(Operand { value, own });
            }
            let id = NodeId(index);
            let (value, trace) = match role {
                Role::Runs(along) => self.timed(
                    || self.apply(id, inputs, along, rectified[index]),
                    |profile, seconds| profile.forward(network, id, shapes[index], images, seconds),
                )?,
                _ => taken(&node.op, inputs)?,
            };
            values[index] = Some(value);
            if keep {
                if trace.is_through_rectifier() {
                    traces[node.inputs[0].0] = Trace::Passed;
                }
                traces[index] = trace;
            }
        }
        let layers = wanted.iter().map(|id| values[id.0].as_ref().map(Tensor::shallow_clone));
        let layers = layers.collect::<Option<_>>();
        let layers = layers.ok_or_else(|| RenderError::Engine("a wanted layer was not computed".into()))?;
        Ok((traces, layers))
    }

    /// Whether the output of a node is memory of its own, of which its trace keeps nothing.
    fn owns_output(&self, id: NodeId) -> bool {
        matches!(self.network().node(id).op, Op::Conv2d { .. } | Op::BiasAdd { .. })
    }

    /// One operation. What [`Network::new`](reverie_graph::Network::new) has checked is not checked again.
    fn apply(
        &self,
        id: NodeId,
        mut inputs: Vec<Operand>,
        along: Along,
        rectified: Option<f32>,
    ) -> Result<(Tensor, Trace), RenderError> {
        let op = &self.network().node(id).op;
        let missing = || RenderError::Engine(format!("{} lacks an operand", op.kind()));
        if matches!(op, Op::Concat) {
            let parts: Vec<&Tensor> = inputs.iter().map(|input| &input.value).collect();
            let channels = parts.iter().map(|part| part.size4().map(|(_, channels, ..)| channels));
            let channels = channels.collect::<Result<_, _>>()?;
            return Ok((Tensor::f_cat(&parts, 1)?, Trace::Channels(channels)));
        }
        let second = if inputs.len() > 1 { inputs.pop() } else { None };
        let Operand { value: mut x, own } = inputs.pop().ok_or_else(missing)?;
        Ok(match (op, &self.kernels[id.0]) {
            (Op::Conv2d { .. }, Kernel::Convolution(convolution)) => {
                let bias = match along.bias.map(|bias| &self.kernels[bias.0]) {
                    Some(Kernel::Bias(bias)) => Some(bias.f_reshape([-1])?),
                    _ => None,
                };
                let y = convolution.forward(&self.team, &x, bias.as_ref(), along.activation)?;
                match rectified {
                    Some(limit) if convolution.takes_rectifier(&x)? => (y, Trace::Rectified { x, limit }),
                    _ => (y, Trace::Size(extent(&x)?)),
                }
            }
            (Op::BiasAdd { .. }, Kernel::Bias(bias)) => {
                (if own { x.f_add_(bias)? } else { x.f_add(bias)? }, Trace::Nothing)
            }
            (Op::MatMul { .. }, Kernel::Matrix(weight)) => (product(&x, weight)?, Trace::Nothing),
            (Op::Lrn { .. }, Kernel::Lrn(lrn)) => {
                let own = if self.library { None } else { lrn.response.forward(&self.team, &x)? };
                if let Some(y) = own {
                    (y, Trace::Response(Normalised { x, rectified: rectified.is_some() }))
                } else {
                    let (y, sums, power) = lrn.forward(&x)?;
                    (y, Trace::Lrn { x, sums, power })
                }
            }
            (Op::Relu, _) => kept(if own { x.f_relu_()? } else { x.f_relu()? }),
            (Op::Relu6, _) => kept(if own { x.f_clamp_(0.0, 6.0)? } else { x.f_clamp(0.0, 6.0)? }),
            (Op::Softmax, _) => kept(x.f_softmax(1, None::<Kind>)?),
            (Op::MaxPool(window), _) => self.maximum(&x, *window, rectified.is_some())?,
            (Op::AvgPool(window), _) => (average(&x, *window)?, Trace::Input(x)),
            (Op::Add, _) => (x.f_add(&second.ok_or_else(missing)?.value)?, Trace::Nothing),
            (Op::SpatialMean, _) => {
                (x.f_mean_dim(&[2i64, 3][..], false, None::<Kind>)?, Trace::Size(extent(&x)?))
            }
            (Op::Flatten { features }, _) => {
                let rows = if x.dim() == 4 { x.f_permute([0, 2, 3, 1])? } else { x.shallow_clone() };
                (rows.f_reshape([-1, *features as i64])?, Trace::Shape(x.size()))
            }
            (Op::Identity | Op::Input { .. }, _) => (x, Trace::Nothing),
            _ => return Err(RenderError::Engine(format!("{} lacks its weights", op.kind()))),
        })
    }

    /// Max-pooling.
    fn maximum(&self, x: &Tensor, window: Window, rectified: bool) -> Result<(Tensor, Trace), RenderError> {
        let Window { kernel, stride, padding } = window;
        let size = extent(x)?;
        if !self.library
            && let Some(pool) = native::extent(x).and_then(|_| Pool::of(size, window, rectified))
            && let Some((y, taps)) = pool.forward(&self.team, x)?
        {
            return Ok((y, Trace::Taps { pool, taps }));
        }
        let padded = pad(x, kernel, stride, padding, f64::NEG_INFINITY)?;
        let (value, indices) = padded.map.f_max_pool2d_with_indices(
            ints(kernel),
            ints(stride),
            padded.symmetric,
            [1, 1],
            false,
        )?;
        Ok((value, Trace::Maxima { padded, indices, size }))
    }
}

/// An input of a node.
struct Operand {
    value: Tensor,
    /// Whether nobody else will look at it.
    own: bool,
}

/// A node whose value its input is already.
fn taken(op: &Op, mut inputs: Vec<Operand>) -> Result<(Tensor, Trace), RenderError> {
    let input = inputs.pop().ok_or_else(|| RenderError::Engine(format!("{} lacks an operand", op.kind())))?;
    Ok(match op {
        Op::Relu | Op::Relu6 => kept(input.value),
        _ => (input.value, Trace::Nothing),
    })
}

fn kept(value: Tensor) -> (Tensor, Trace) {
    (value.shallow_clone(), Trace::Output(value))
}

/// Rows and columns.
fn extent(x: &Tensor) -> Result<[i64; 2], RenderError> {
    let (_, _, height, width) = x.size4()?;
    Ok([height, width])
}
