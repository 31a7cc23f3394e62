//! The way back: from derivatives with respect to layers to the derivative with respect to the image.

use tch::Tensor;

use super::{
    super::{
        RenderError,
        native::{Rectifier, added_to, rectifier},
    },
    Executor,
    forward::Trace,
    ints,
    kernel::Kernel,
    product,
    window::{Padded, average_backward, crop},
};
use reverie_graph::{NodeId, Op};

impl Executor {
    /// Gradient with respect to the prepared image, `[1, 3, H, W]` in the executor's precision.
    pub(super) fn back(
        &self,
        traces: Vec<Trace>,
        wanted: &[NodeId],
        seeds: Vec<Tensor>,
    ) -> Result<Tensor, RenderError> {
        let network = self.network();
        let mut gradients: Vec<Option<Gradient>> = traces.iter().map(|_| None).collect();
        for (id, seed) in wanted.iter().zip(seeds) {
            let seed = seed.f_to_kind(self.kind)?;
            // A map that comes in another layout would make every operation convert it.
            let value = if seed.dim() == 4 { self.layout.arrange(&seed)? } else { seed };
            gather(&mut gradients[id.0], Gradient { value, own: false })?;
        }
        for (index, trace) in traces.into_iter().enumerate().rev() {
            let node = network.node(NodeId(index));
            if matches!(node.op, Op::Input { .. }) {
                continue;
            }
            // No gradient: not needed, or of no influence.
            let Some(gradient) = gradients[index].take() else { continue };
            let id = NodeId(index);
            // Some can add to what has come from other readers of their input.
            let sum = match node.op {
                Op::Conv2d { .. } | Op::MaxPool(_) => gradients[node.inputs[0].0].take_if(|sum| sum.own),
                _ => None,
            };
            let parts = self.timed(
                || self.derive(id, gradient, trace, sum.map(|sum| sum.value)),
                |profile, seconds| profile.backward(id, seconds),
            )?;
            let own = makes_its_own(&node.op);
            for (input, value) in node.inputs.iter().zip(parts) {
                gather(&mut gradients[input.0], Gradient { value, own })?;
            }
        }
        let gradient = gradients[network.input().0].take().map(|gradient| gradient.value);
        gradient.ok_or_else(|| RenderError::Engine("the objective does not depend on the image".into()))
    }

    /// The gradients of a node's inputs, given that of its output and what it left behind; `sum` is what a convolution
    /// or a pooling shall add its own to.
    fn derive(
        &self,
        id: NodeId,
        gradient: Gradient,
        trace: Trace,
        sum: Option<Tensor>,
    ) -> Result<Vec<Tensor>, RenderError> {
        let Gradient { value: gradient, own } = gradient;
        let op = &self.network().node(id).op;
        let one = |gradient| Ok(vec![gradient]);
        match (op, trace, &self.kernels[id.0]) {
            (Op::Conv2d { .. }, Trace::Size(size), Kernel::Convolution(convolution)) => {
                one(convolution.backward(&self.team, &gradient, size, sum)?)
            }
            (Op::Conv2d { .. }, Trace::Rectified { x, limit }, Kernel::Convolution(convolution)) => {
                let gradient = self.layout.arrange(&gradient)?;
                let back = convolution.backward_through(&self.team, &gradient, Rectifier { y: &x, limit })?;
                one(back.ok_or_else(out_of_step)?)
            }
            (Op::MatMul { .. }, _, Kernel::Matrix(weight)) => {
                one(product(&gradient, &weight.f_transpose(0, 1)?)?)
            }
            (Op::Lrn { .. }, Trace::Lrn { x, sums, power }, Kernel::Lrn(lrn)) => {
                one(lrn.backward(&gradient, &x, &sums, &power)?)
            }
            (Op::Lrn { .. }, Trace::Response(x), Kernel::Lrn(lrn)) => {
                let gradient = self.layout.arrange(&gradient)?;
                one(lrn.response.backward(&self.team, &x, &gradient)?.ok_or_else(out_of_step)?)
            }
            (Op::Relu | Op::Relu6, Trace::Passed, _) => one(gradient),
            (Op::Relu, Trace::Output(y), _) => one(self.rectified(&y, None, &gradient, own)?),
            (Op::Relu6, Trace::Output(y), _) => one(self.rectified(&y, Some(6.0), &gradient, own)?),
            (Op::Softmax, Trace::Output(y), _) => {
                one(Tensor::f_internal_softmax_backward_data(&gradient, &y, 1, y.f_kind()?)?)
            }
            (Op::MaxPool(window), Trace::Maxima { padded, indices, size }, _) => {
                let Padded { map, added, symmetric } = padded;
                let spread = map.f_max_pool2d_with_indices_backward(
                    &gradient,
                    ints(window.kernel),
                    ints(window.stride),
                    symmetric,
                    [1, 1],
                    false,
                    &indices,
                )?;
                one(added_to(sum, crop(&spread, added, size)?)?)
            }
            (Op::MaxPool(_), Trace::Taps { pool, taps }, _) => {
                let gradient = self.layout.arrange(&gradient)?;
                one(pool.backward(&self.team, &gradient, &taps, sum)?.ok_or_else(out_of_step)?)
            }
            (Op::AvgPool(window), Trace::Input(x), _) => one(average_backward(&gradient, &x, *window)?),
            (Op::Concat, Trace::Channels(channels), _) => {
                let starts = channels.iter().scan(0, |start, &channels| {
                    *start += channels;
                    Some((*start - channels, channels))
                });
                starts.map(|(start, channels)| Ok(gradient.f_narrow(1, start, channels)?)).collect()
            }
            (Op::Add, ..) => Ok(vec![gradient.shallow_clone(), gradient]),
            (Op::SpatialMean, Trace::Size([height, width]), _) => {
                let (rows, channels) = gradient.size2()?;
                let share =
                    gradient.f_div_scalar((height * width) as f64)?.f_reshape([rows, channels, 1, 1])?;
                one(self.layout.arrange(&share.f_expand([rows, channels, height, width], false)?)?)
            }
            (Op::Flatten { .. }, Trace::Shape(shape), _) => match shape[..] {
                [rows, channels, height, width] => {
                    one(gradient.f_reshape([rows, height, width, channels])?.f_permute([0, 3, 1, 2])?)
                }
                _ => one(gradient.f_reshape(shape)?),
            },
            (Op::BiasAdd { .. } | Op::Identity, ..) => one(gradient),
            _ => Err(RenderError::Engine(format!("{} left nothing for its derivative", op.kind()))),
        }
    }

    /// The way back through `min(max(x, 0), limit)`; overwrites the gradient if it is `own`.
    fn rectified(
        &self,
        y: &Tensor,
        limit: Option<f32>,
        gradient: &Tensor,
        own: bool,
    ) -> Result<Tensor, RenderError> {
        let bound = limit.unwrap_or(f32::INFINITY);
        if !self.library
            && let Some(back) = rectifier::backward(&self.team, y, bound, gradient, own)?
        {
            return Ok(back);
        }
        Ok(match limit {
            None if own => y.f_threshold_backward_grad_input(gradient, gradient, 0.0)?,
            None => y.f_threshold_backward(gradient, 0.0)?,
            Some(limit) if own => {
                y.f_hardtanh_backward_grad_input(gradient, gradient, 0.0, f64::from(limit))?
            }
            Some(limit) => y.f_hardtanh_backward(gradient, 0.0, f64::from(limit))?,
        })
    }
}

/// A gradient is as its map was; anything else is a mistake of ours.
fn out_of_step() -> RenderError {
    RenderError::Engine("a gradient does not lie in memory as its map did".into())
}

/// What has come so far for a node's output.
struct Gradient {
    value: Tensor,
    /// Whether it is memory that nobody else looks at; otherwise it may be on its way to several nodes.
    own: bool,
}

/// Whether the way back through an operation ends in new memory, rather than in what it was given or a view of it.
fn makes_its_own(op: &Op) -> bool {
    matches!(op, Op::Conv2d { .. } | Op::Lrn { .. } | Op::MaxPool(_) | Op::Relu | Op::Relu6)
}

/// Adds up what comes from several readers.
fn gather(sum: &mut Option<Gradient>, part: Gradient) -> Result<(), RenderError> {
    *sum = Some(match sum.take() {
        Some(Gradient { mut value, own: true }) => Gradient { value: value.f_add_(&part.value)?, own: true },
        Some(Gradient { value, own: false }) => Gradient { value: value.f_add(&part.value)?, own: true },
        None => part,
    });
    Ok(())
}
