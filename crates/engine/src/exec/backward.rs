//! The backward pass: from derivatives with respect to layers to the derivative with respect to the image.

use tch::Tensor;

use super::{
    super::{
        RenderError,
        kernels::{ReluMask, add_to, lrn_backward, max_pool_backward, relu_backward},
    },
    Executor,
    elementwise::{activation_backward, product_backward, scaled},
    forward::SavedForBackward,
    ints,
    params::NodeParams,
    product,
    window::{Padded, average_backward, crop},
};
use reverie_graph::{NodeId, Op};

impl Executor {
    /// Gradient with respect to the prepared image, `[N, 3, H, W]` in the executor's precision.
    pub(super) fn back(
        &self,
        saved: Vec<SavedForBackward>,
        wanted: &[NodeId],
        seeds: Vec<Tensor>,
    ) -> Result<Tensor, RenderError> {
        let network = self.network();
        let mut gradients: Vec<Option<Gradient>> = saved.iter().map(|_| None).collect();
        for (id, seed) in wanted.iter().zip(seeds) {
            let seed = seed.f_to_kind(self.kind)?;
            // A map that comes in another layout would make every operation convert it.
            let value = if seed.dim() == 4 { self.layout.arrange(&seed)? } else { seed };
            accumulate(&mut gradients[id.0], Gradient { value, owned: false })?;
        }
        for (index, saved) in saved.into_iter().enumerate().rev() {
            let node = network.node(NodeId(index));
            if matches!(node.op, Op::Input { .. }) {
                continue;
            }
            // No gradient: not needed, or of no influence.
            let Some(gradient) = gradients[index].take() else { continue };
            let id = NodeId(index);
            // Some can add to what has come from other readers of their input.
            let sum = match node.op {
                Op::Conv2d { .. } | Op::MaxPool(_) => gradients[node.inputs[0].0].take_if(|sum| sum.owned),
                _ => None,
            };
            let parts = self.timed(
                || self.derive(id, gradient, saved, sum.map(|sum| sum.value)),
                |profile, seconds| profile.backward(id, seconds),
            )?;
            let owned = gradient_is_owned(&node.op);
            for (input, value) in node.inputs.iter().zip(parts) {
                accumulate(&mut gradients[input.0], Gradient { value, owned })?;
            }
        }
        let gradient = gradients[network.input().0].take().map(|gradient| gradient.value);
        gradient.ok_or_else(|| RenderError::Engine("the objective does not depend on the image".into()))
    }

    /// The gradients of a node's inputs, given that of its output and what it saved; `sum` is what a convolution
    /// or a pooling shall add its own to.
    fn derive(
        &self,
        id: NodeId,
        gradient: Gradient,
        saved: SavedForBackward,
        sum: Option<Tensor>,
    ) -> Result<Vec<Tensor>, RenderError> {
        let Gradient { value: gradient, owned } = gradient;
        let op = &self.network().node(id).op;
        let one = |gradient| Ok(vec![gradient]);
        match (op, saved, &self.params[id.0]) {
            (Op::Conv2d { .. }, SavedForBackward::Size(size), NodeParams::Convolution(convolution)) => {
                one(convolution.backward(&self.threads, &gradient, size, sum)?)
            }
            (
                Op::Conv2d { .. },
                SavedForBackward::ReluOutput { x, limit },
                NodeParams::Convolution(convolution),
            ) => {
                let gradient = self.layout.arrange(&gradient)?;
                let back = convolution.backward_through_relu(
                    &self.threads,
                    &gradient,
                    ReluMask { output: &x, limit },
                )?;
                one(back.ok_or_else(out_of_step)?)
            }
            (
                Op::Conv2d { .. },
                SavedForBackward::Size(size),
                NodeParams::RepeatedConvolution(convolution),
            ) => one(convolution.backward(&self.threads, &gradient, size, sum, self.layout)?),
            (Op::MatMul { .. }, _, NodeParams::RepeatedMatrix(matrix)) => one(matrix.backward(&gradient)?),
            (Op::MatMul { .. }, _, NodeParams::Matrix(weight)) => {
                one(product(&gradient, &weight.f_transpose(0, 1)?)?)
            }
            (Op::Lrn { .. }, SavedForBackward::Lrn { x, sums, power }, NodeParams::Lrn(lrn)) => {
                one(lrn.backward(&gradient, &x, &sums, &power)?)
            }
            (Op::Lrn { .. }, SavedForBackward::LrnInput(saved), NodeParams::Lrn(lrn)) => {
                let gradient = self.layout.arrange(&gradient)?;
                let back = match self.gpu {
                    Some(gpu) => gpu.lrn_backward(lrn.params, &saved, &gradient)?,
                    None => lrn_backward(&self.threads, lrn.params, &saved, &gradient)?,
                };
                one(back.ok_or_else(out_of_step)?)
            }
            (Op::Relu | Op::Relu6, SavedForBackward::InReader, _) => one(gradient),
            (Op::Relu, SavedForBackward::Output(y), _) => {
                one(self.relu_backward(&y, None, &gradient, owned)?)
            }
            (Op::Relu6, SavedForBackward::Output(y), _) => {
                one(self.relu_backward(&y, Some(6.0), &gradient, owned)?)
            }
            (Op::MaxPool(window), SavedForBackward::LibraryMaxPool { padded, indices, size }, _) => {
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
                one(add_to(sum, crop(&spread, added, size)?)?)
            }
            (Op::MaxPool(_), SavedForBackward::OwnMaxPool { pool, indices }, _) => {
                let gradient = self.layout.arrange(&gradient)?;
                let back = match self.gpu {
                    Some(gpu) => gpu.max_pool_backward(&pool, &gradient, &indices, sum)?,
                    None => max_pool_backward(&self.threads, &pool, &gradient, &indices, sum)?,
                };
                one(back.ok_or_else(out_of_step)?)
            }
            (Op::AvgPool { window, count_padding }, SavedForBackward::Measured(x), _) => {
                one(average_backward(&gradient, &x, *window, *count_padding)?)
            }
            (Op::Scale { .. }, _, NodeParams::Scale { scale, .. }) => {
                one(scaled(gradient, owned, scale, None)?)
            }
            (Op::Multiply, SavedForBackward::Factors(factors), _) => product_backward(&gradient, &factors),
            (Op::Pad { before, .. }, SavedForBackward::Size(size), _) => {
                one(crop(&gradient, ints(*before), size)?)
            }
            (Op::Concat, SavedForBackward::Channels(channels), _) => {
                let starts = channels.iter().scan(0, |start, &channels| {
                    *start += channels;
                    Some((*start - channels, channels))
                });
                starts.map(|(start, channels)| Ok(gradient.f_narrow(1, start, channels)?)).collect()
            }
            (Op::SliceChannels { start, channels }, SavedForBackward::Channels(all), _) => {
                let start = *start as i64;
                let rest = all.iter().sum::<i64>() - start - *channels as i64;
                one(self.layout.arrange(&gradient.f_pad([0, 0, 0, 0, start, rest], "constant", 0.0)?)?)
            }
            // Shuffling so many groups as each had channels puts them back.
            (Op::ChannelShuffle { groups }, ..) => {
                let (_, channels, ..) = gradient.size4()?;
                one(self.layout.arrange(&gradient.f_channel_shuffle(channels / *groups as i64)?)?)
            }
            (Op::Add, ..) => Ok(vec![gradient.shallow_clone(), gradient]),
            (Op::SpatialMean, SavedForBackward::Size([height, width]), _) => {
                let (rows, channels) = gradient.size2()?;
                let share =
                    gradient.f_div_scalar((height * width) as f64)?.f_reshape([rows, channels, 1, 1])?;
                one(self.layout.arrange(&share.f_expand([rows, channels, height, width], false)?)?)
            }
            (Op::GlobalAvgPool, SavedForBackward::Size([height, width]), _) => {
                let (images, channels, ..) = gradient.size4()?;
                let share = gradient.f_div_scalar((height * width) as f64)?;
                one(self.layout.arrange(&share.f_expand([images, channels, height, width], false)?)?)
            }
            (Op::Flatten { channels_first, .. }, SavedForBackward::Shape(shape), _) => match shape[..] {
                [_, _, _, _] if *channels_first => one(self.layout.arrange(&gradient.f_reshape(shape)?)?),
                [rows, channels, height, width] => {
                    one(gradient.f_reshape([rows, height, width, channels])?.f_permute([0, 3, 1, 2])?)
                }
                _ => one(gradient.f_reshape(shape)?),
            },
            (Op::AsMap, SavedForBackward::Shape(shape), _) => one(gradient.f_reshape(shape)?),
            (Op::BiasAdd { .. } | Op::Identity, ..) => one(gradient),
            (op, saved, _) => match activation_backward(op, &saved, &gradient)? {
                Some(gradient) => one(gradient),
                None => Err(RenderError::Engine(format!("{} saved nothing for its derivative", op.kind()))),
            },
        }
    }

    /// The backward pass of `min(max(x, 0), limit)`; overwrites the gradient if it is `owned`.
    fn relu_backward(
        &self,
        y: &Tensor,
        limit: Option<f32>,
        gradient: &Tensor,
        owned: bool,
    ) -> Result<Tensor, RenderError> {
        let bound = limit.unwrap_or(f32::INFINITY);
        if !self.library_only
            && let Some(back) = relu_backward(&self.threads, y, bound, gradient, owned)?
        {
            return Ok(back);
        }
        Ok(match limit {
            None if owned => y.f_threshold_backward_grad_input(gradient, gradient, 0.0)?,
            None => y.f_threshold_backward(gradient, 0.0)?,
            Some(limit) if owned => {
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
    /// Whether it is memory that nothing else reads; otherwise it may be on its way to several nodes.
    owned: bool,
}

/// Whether the backward pass of an operation returns memory that nothing else reads: new, or of a ReLU that is part of its reader's,
/// what that reader allocated.
fn gradient_is_owned(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2d { .. }
            | Op::Lrn { .. }
            | Op::MaxPool(_)
            | Op::Relu
            | Op::Relu6
            | Op::Scale { .. }
            | Op::Multiply
            | Op::LeakyRelu { .. }
            | Op::Clip { .. }
            | Op::Sigmoid
            | Op::Swish
            | Op::HardSwish
    )
}

/// Adds up what comes from several readers.
fn accumulate(sum: &mut Option<Gradient>, part: Gradient) -> Result<(), RenderError> {
    *sum = Some(match sum.take() {
        Some(Gradient { mut value, owned: true }) => {
            Gradient { value: value.f_add_(&part.value)?, owned: true }
        }
        Some(Gradient { value, owned: false }) => Gradient { value: value.f_add(&part.value)?, owned: true },
        None => part,
    });
    Ok(())
}
