//! Convolutions: weights that are made ready once, and their kernels on maps.

use reverie_dream::plan::winograd;
use reverie_kernels::{ConvShape, Map, Shape, ThreadPool, ValueKind};
use tch::{Kind, Tensor};

use super::{
    super::RenderError,
    instruction_set, mistake,
    view::{Exclusive, dense, strided, to_vec, value_kind},
};

/// What a convolution does to every result: adds a bias and clamps.
pub(in super::super) type Epilogue<'a> = reverie_kernels::Epilogue<&'a Tensor>;

/// The ReLU before a convolution, for the backward pass through both.
pub(in super::super) type ReluMask<'a> = reverie_kernels::ReluMask<&'a Tensor>;

/// What is done to the results of a convolution after they are computed.
#[derive(Clone, Copy)]
pub(in super::super) struct PostOps<'a> {
    pub(in super::super) epilogue: Epilogue<'a>,
    /// A map that nothing else reads, to add to; the result takes its place.
    pub(in super::super) sum: Option<&'a Tensor>,
    /// The ReLU whose backward pass the results go through.
    pub(in super::super) relu: Option<ReluMask<'a>>,
}

/// Extents of weights, `[out, in / groups, rows, columns]`.
fn extents(weight: &Tensor) -> Result<[usize; 4], RenderError> {
    let (out, channels, height, width) = weight.size4()?;
    Ok([out, channels, height, width].map(|n| n as usize))
}

/// Hands the epilogue to `run` with its bias as a slice.
fn with_bias<T>(
    Epilogue { bias, low, high }: Epilogue<'_>,
    run: impl FnOnce(reverie_kernels::Epilogue<&[f32]>) -> Result<T, RenderError>,
) -> Result<T, RenderError> {
    let bias = bias.map(to_vec).transpose()?;
    run(reverie_kernels::Epilogue { bias: bias.as_deref(), low, high })
}

/// The map that results go to: `sum`, or a new one. None if `sum` does not fit, or may be of the same memory as an input.
fn target(
    sum: Option<&Tensor>,
    kind: ValueKind,
    shape: Shape,
    inputs: &[&Tensor],
) -> Result<Option<Exclusive>, RenderError> {
    #[allow(unsafe_code, reason = "only the executor knows who else has the memory")]
    match sum {
        // SAFETY: a pass belongs to one thread, in which nothing else reads a sum, see `PostOps`.
        Some(sum) => Ok(unsafe { Exclusive::same(sum, kind, shape, inputs) }),
        None => Exclusive::map(kind, shape).map(Some),
    }
}

/// A ReLU's output as a map of this kind and shape; none in the outer option if it does not fit.
fn relu_view(
    relu: Option<ReluMask<'_>>,
    kind: ValueKind,
    shape: Shape,
) -> Option<Option<reverie_kernels::ReluMask<Map<'_>>>> {
    let Some(ReluMask { output, limit }) = relu else { return Some(None) };
    let output = dense(output).filter(|map| map.kind() == kind && map.shape() == shape)?;
    Some(Some(reverie_kernels::ReluMask { output, limit }))
}

/// Weights of a Winograd convolution.
pub(in super::super) struct Winograd(reverie_kernels::Winograd);

impl Winograd {
    /// Whether a Winograd convolution with `weight`, `[out, in, t, t]`, without groups, strides or dilation, is
    /// possible and faster than plain sums for maps like `x` with so much padding: by the rule of predictions.
    pub(in super::super) fn pays(
        weight: &Tensor,
        x: &Tensor,
        padding: [i64; 2],
    ) -> Result<bool, RenderError> {
        let (_, _, rows, columns) = x.size4()?;
        let weights @ [_, _, taps, _] = extents(weight)?;
        let bf16 = value_kind(x) == Some(ValueKind::Bf16);
        let along = |n: i64, padding: i64| (n as usize + 2 * padding as usize + 1).saturating_sub(taps);
        let results = along(rows, padding[0]) * along(columns, padding[1]);
        Ok(instruction_set().has_fma() && winograd::pays(weights, bf16, results))
    }

    /// Takes over weights for which it may pay. `tie_exact`: whether an argmax follows, so that results of equal
    /// patches must be equal bit by bit.
    pub(in super::super) fn new(weight: &Tensor, tie_exact: bool) -> Result<Self, RenderError> {
        let winograd = reverie_kernels::Winograd::new(&to_vec(weight)?, extents(weight)?, tie_exact);
        winograd.map(Self).map_err(mistake)
    }

    /// The convolution of `x`, `[N, C, H, W]`, with so many rows and columns of zeros around it; none for an
    /// unsupported layout. There is no ReLU in `post_ops`.
    pub(in super::super) fn convolve(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        padding: [i64; 2],
        post_ops: PostOps<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let PostOps { epilogue, sum, relu } = post_ops;
        let Some(map) = strided(x).filter(|x| x.shape()[3] == self.0.channels() && relu.is_none()) else {
            return Ok(None);
        };
        let padding = padding.map(|n| n as usize);
        let shape = self.0.output_shape(map.shape(), padding);
        if shape.contains(&0) {
            return Ok(None);
        }
        let Some(mut y) = target(sum, map.kind(), shape, &[x])? else { return Ok(None) };
        with_bias(epilogue, |epilogue| {
            let view = y.view()?;
            self.0.convolve(threads, map, padding, epilogue, sum.is_some(), view).map_err(mistake)
        })?;
        Ok(Some(y.into_tensor()))
    }
}

/// Weights of a 1×1 convolution.
pub(in super::super) struct Conv1x1(reverie_kernels::Conv1x1);

impl Conv1x1 {
    /// Takes over weights `[out, in, 1, 1]`; none where there is no kernel for them, or no fast one.
    pub(in super::super) fn new(weight: &Tensor) -> Result<Option<Self>, RenderError> {
        let set = instruction_set();
        let [outputs, channels, height, width] = extents(weight)?;
        if (height, width) != (1, 1) || !set.has_fma() {
            return Ok(None);
        }
        let make = match weight.f_kind()? {
            Kind::Float => reverie_kernels::Conv1x1::new_f32,
            Kind::BFloat16 if set.has_bf16_dot() && channels.is_multiple_of(2) => {
                reverie_kernels::Conv1x1::new_bf16
            }
            _ => return Ok(None),
        };
        let weights = make(&to_vec(weight)?, [outputs, channels]).map_err(mistake)?;
        Ok(Some(Self(weights)))
    }

    /// The convolution of `x`, `[N, C, H, W]`; none for an unsupported layout.
    pub(in super::super) fn convolve(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        post_ops: PostOps<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let PostOps { epilogue, sum, relu } = post_ops;
        let Some(map) = strided(x).filter(|x| x.shape()[3] == self.0.channels() && x.kind() == self.0.kind())
        else {
            return Ok(None);
        };
        let [images, height, width, _] = map.shape();
        let shape = [images, height, width, self.0.outputs()];
        let inputs = [x, relu.map_or(x, |relu| relu.output)];
        let Some(relu) = relu_view(relu, map.kind(), shape) else { return Ok(None) };
        let Some(mut y) = target(sum, map.kind(), shape, &inputs)? else { return Ok(None) };
        with_bias(epilogue, |epilogue| {
            let view = y.view()?;
            self.0.convolve(threads, map, sum.is_some(), epilogue, relu, view).map_err(mistake)
        })?;
        Ok(Some(y.into_tensor()))
    }
}

/// Weights of a depthwise convolution.
pub(in super::super) struct Depthwise(reverie_kernels::Depthwise);

impl Depthwise {
    /// Takes over weights `[C, 1, kh, kw]` of a convolution in so many groups; none where there is no kernel for them,
    /// or no fast one.
    pub(in super::super) fn new(weight: &Tensor, groups: usize) -> Result<Option<Self>, RenderError> {
        let [channels, shared, height, width] = extents(weight)?;
        let fits = channels == groups && shared == 1 && reverie_kernels::Depthwise::fits(channels);
        if !fits || !instruction_set().has_fma() {
            return Ok(None);
        }
        let weights = to_vec(&weight.f_permute([2, 3, 0, 1])?)?;
        let depthwise = reverie_kernels::Depthwise::new(weights, [height, width], channels);
        depthwise.map(|depthwise| Some(Self(depthwise))).map_err(mistake)
    }

    /// The convolution of `x`, `[N, C, H, W]`; none for an unsupported layout.
    pub(in super::super) fn forward(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        shape: ConvShape,
        epilogue: Epilogue<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some(x) = self.input(x, shape.input) else { return Ok(None) };
        let mut y = self.result(x, shape.output)?;
        with_bias(epilogue, |epilogue| {
            let view = y.view()?;
            self.0.forward(threads, x, shape, epilogue, view).map_err(mistake)
        })?;
        Ok(Some(y.into_tensor()))
    }

    /// The gradient of the input, given that of the output, or of the input of the ReLU before it; none for an
    /// unsupported layout.
    pub(in super::super) fn backward(
        &self,
        threads: &ThreadPool,
        gradient: &Tensor,
        shape: ConvShape,
        relu: Option<ReluMask<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some(gradient) = self.input(gradient, shape.output) else { return Ok(None) };
        let mut back = self.result(gradient, shape.input)?;
        let view = back.view()?;
        let Some(relu) = relu_view(relu, gradient.kind(), view.shape()) else { return Ok(None) };
        self.0.backward(threads, gradient, shape, relu, view).map_err(mistake)?;
        Ok(Some(back.into_tensor()))
    }

    /// The view of a map of so many rows and columns; none for an unsupported layout.
    fn input<'a>(&self, map: &'a Tensor, size: [usize; 2]) -> Option<Map<'a>> {
        dense(map).filter(|map| {
            let [_, rows, columns, channels] = map.shape();
            [rows, columns] == size && channels == self.0.channels()
        })
    }

    /// A new map of as many images as `like`, and so many rows and columns.
    fn result(&self, like: Map<'_>, [rows, columns]: [usize; 2]) -> Result<Exclusive, RenderError> {
        Exclusive::map(like.kind(), [like.shape()[0], rows, columns, self.0.channels()])
    }
}
