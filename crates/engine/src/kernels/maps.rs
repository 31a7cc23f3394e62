//! Max-pooling, local response normalisation, ReLU and the pixel shuffle on maps.

use reverie_graph::Window;
use reverie_kernels::{LrnParams, MaxPool, ReluMask as KernelReluMask, ThreadPool, relu};
use tch::{Kind, Tensor};

use super::{
    super::RenderError,
    mistake,
    view::{Exclusive, dense, raw, strided, tensor_kind},
};

/// The windows over a map of so many rows and columns; none where they do not fit.
pub(in super::super) fn pool_geometry(
    input: [i64; 2],
    window: Window,
    through_relu: bool,
) -> Option<MaxPool> {
    let Window { kernel, stride, padding } = window;
    let input = input.map(|n| n as usize);
    let [rows, columns] = [0, 1].map(|axis| padding.resolve(axis, input[axis], kernel[axis], stride[axis]));
    let ((height, top, _), (width, left, _)) = (rows?, columns?);
    Some(MaxPool { kernel, stride, before: [top, left], input, output: [height, width], through_relu })
}

/// Maxima, and which position of each window they are: one byte each, for [`max_pool_backward`]. None for an
/// unsupported layout or kernel.
pub(in super::super) fn max_pool_forward(
    threads: &ThreadPool,
    pool: &MaxPool,
    x: &Tensor,
) -> Result<Option<(Tensor, Tensor)>, RenderError> {
    let Some(x) = dense(x).filter(|_| MaxPool::fits(pool.kernel)) else { return Ok(None) };
    let ([images, _, _, channels], [height, width]) = (x.shape(), pool.output);
    let mut y = Exclusive::map(x.kind(), [images, height, width, channels])?;
    let shape = [images, height, width, channels].map(|n| n as i64);
    let mut argmax = Exclusive::contiguous(Kind::Uint8, &shape)?;
    pool.forward(threads, x, y.view()?, argmax.bytes()?).map_err(mistake)?;
    Ok(Some((y.into_tensor(), argmax.into_tensor())))
}

/// The gradient of the input, given that of the output and the indices that [`max_pool_forward`] gave, added to `sum`,
/// a map that nothing else reads, where there is one. The sum has memory of its own, or is added to by libtorch. None for an unsupported layout.
pub(in super::super) fn max_pool_backward(
    threads: &ThreadPool,
    pool: &MaxPool,
    gradient: &Tensor,
    argmax: &Tensor,
    sum: Option<Tensor>,
) -> Result<Option<Tensor>, RenderError> {
    let Some(map) = dense(gradient) else { return Ok(None) };
    let ([images, _, _, channels], [height, width]) = (map.shape(), pool.input);
    let (kind, shape) = (map.kind(), [images, height, width, channels]);
    #[allow(unsafe_code, reason = "only the executor knows who else has the memory")]
    // SAFETY: a pass belongs to one thread, in which nothing else reads the sum.
    let onto = sum.as_ref().and_then(|sum| unsafe { Exclusive::same(sum, kind, shape, &[gradient, argmax]) });
    let accumulate = onto.is_some();
    let mut back = match onto {
        Some(onto) => onto,
        None => Exclusive::map(kind, shape)?,
    };
    if argmax.f_kind()? != Kind::Uint8 || !argmax.is_contiguous() {
        return Err(RenderError::Engine("argmax indices are not as max-pooling made them".into()));
    }
    #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
    // SAFETY: the tensor holds `numel` bytes without gaps; nothing writes to them any more.
    let argmax = unsafe { raw::<u8>(argmax, argmax.numel()) };
    pool.backward(threads, map, argmax, accumulate, back.view()?).map_err(mistake)?;
    let back = back.into_tensor();
    Ok(Some(if accumulate { back } else { add_to(sum, back)? }))
}

/// What the backward pass of a normalisation reads in addition to the gradient.
pub(in super::super) struct SavedLrn {
    /// The input.
    pub(in super::super) x: Tensor,
    /// Whether the input is the output of a ReLU that nothing else reads. Then the backward pass is through both.
    pub(in super::super) through_relu: bool,
}

/// The normalised map; none for an unsupported layout.
pub(in super::super) fn lrn_forward(
    threads: &ThreadPool,
    params: LrnParams,
    x: &Tensor,
) -> Result<Option<Tensor>, RenderError> {
    let Some(x) = dense(x) else { return Ok(None) };
    let mut y = Exclusive::map(x.kind(), x.shape())?;
    params.forward(threads, x, y.view()?).map_err(mistake)?;
    Ok(Some(y.into_tensor()))
}

/// The gradient of the input, given that of the output; none for an unsupported layout.
pub(in super::super) fn lrn_backward(
    threads: &ThreadPool,
    params: LrnParams,
    saved: &SavedLrn,
    gradient: &Tensor,
) -> Result<Option<Tensor>, RenderError> {
    let (Some(x), Some(gradient)) = (dense(&saved.x), dense(gradient)) else { return Ok(None) };
    let mut back = Exclusive::map(x.kind(), x.shape())?;
    params.backward(threads, x, saved.through_relu, gradient, back.view()?).map_err(mistake)?;
    Ok(Some(back.into_tensor()))
}

/// The gradient of the input of `min(max(x, 0), limit)`, given its output `y` and the gradient of that, which is
/// overwritten if `owned` says that nothing else reads it. None for an unsupported layout.
pub(in super::super) fn relu_backward(
    threads: &ThreadPool,
    y: &Tensor,
    limit: f32,
    gradient: &Tensor,
    owned: bool,
) -> Result<Option<Tensor>, RenderError> {
    let Some(output) = dense(y) else { return Ok(None) };
    let (kind, shape) = (output.kind(), output.shape());
    let mask = KernelReluMask { output, limit };
    #[allow(unsafe_code, reason = "only the executor knows who else has the memory")]
    // SAFETY: a pass belongs to one thread, in which nothing else reads a gradient that is owned.
    let in_place = owned.then(|| unsafe { Exclusive::same(gradient, kind, shape, &[y]) }).flatten();
    if let Some(mut back) = in_place {
        relu::backward_in_place(threads, mask, back.view()?).map_err(mistake)?;
        return Ok(Some(back.into_tensor()));
    }
    // Of a concatenation every part has its gradient between those of the others.
    let Some(gradient) = strided(gradient).filter(|map| map.kind() == kind && map.shape() == shape) else {
        return Ok(None);
    };
    let mut back = Exclusive::map(kind, shape)?;
    relu::backward(threads, mask, gradient, back.view()?).map_err(mistake)?;
    Ok(Some(back.into_tensor()))
}

/// The map `[N, C, H, W]` of `size` rows and columns, one channel after the other, whose pixel `(2i + p, 2j + q)` of
/// channel `c`, counted from `before`, is `phases[n, 4c + 2p + q, i, j]`; zeros where there is none. None for an
/// unsupported layout.
pub(in super::super) fn pixel_shuffle(
    threads: &ThreadPool,
    phases: &Tensor,
    channels: usize,
    before: [i64; 2],
    size: [i64; 2],
) -> Result<Option<Tensor>, RenderError> {
    let Some(phases) = dense(phases) else { return Ok(None) };
    let shape = [phases.shape()[0] as i64, channels as i64, size[0], size[1]];
    let mut planes = Exclusive::contiguous(tensor_kind(phases.kind()), &shape)?;
    let [before, size] = [before, size].map(|pair| pair.map(|n| n as usize));
    let values = planes.values()?;
    reverie_kernels::pixel_shuffle::pixel_shuffle(threads, phases, channels, before, size, values)
        .map_err(mistake)?;
    Ok(Some(planes.into_tensor()))
}

/// `part`, added to a map that nothing else reads where there is one.
pub(in super::super) fn add_to(sum: Option<Tensor>, part: Tensor) -> Result<Tensor, RenderError> {
    Ok(match sum {
        Some(mut sum) => sum.f_add_(&part)?,
        None => part,
    })
}
