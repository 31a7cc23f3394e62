//! TensorFlow's operations with weights and windows: convolutions, normalisations, poolings, products.

use super::{
    batch_norm::Affine,
    padding::absorb,
    strided::gather,
    tf_call::{Call, Output, shown},
    tf_ops::single,
};
use reverie_graph::{Array, NodeId, Op, Window};

/// The kernel is `[height, width, in, out]` in TensorFlow.
pub(super) fn conv2d<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    let input = call.layer(0)?;
    let ([height, width, inner, outer], data) = call.weight(1)?;
    let shape = [outer, inner, height, width];
    let strides = [1, outer, width * inner * outer, inner * outer];
    // Grouped convolutions say so by their weights alone.
    let channels = call.builder.channels(input);
    let groups = if channels.is_multiple_of(inner) { channels / inner } else { 1 };
    convolution(call, input, &data, (shape, strides), groups)
}

/// The kernel is `[height, width, channels, multiplier]`; results are ordered by channel, then multiplier.
pub(super) fn depthwise<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    let input = call.layer(0)?;
    let ([height, width, channels, multiplier], data) = call.weight(1)?;
    let outer = channels * multiplier;
    convolution(call, input, &data, ([outer, 1, height, width], [1, 1, width * outer, outer]), channels)
}

fn convolution<'a>(
    call: &mut Call<'a, '_>,
    input: NodeId,
    data: &[f32],
    (shape, strides): ([usize; 4], [usize; 4]),
    groups: usize,
) -> Result<Output<'a>, String> {
    call.is_nhwc()?;
    let dilation = call.spatial_or_absent("dilations")?.unwrap_or([1, 1]);
    let extent = [0, 1].map(|axis| (shape[2 + axis] - 1).saturating_mul(dilation[axis]).saturating_add(1));
    let (input, padding) = absorb(call.builder.nodes(), input, call.padding()?, extent);
    let op = Op::Conv2d {
        weight: gather(data, &shape, &strides, 0)?,
        bias: None,
        stride: call.spatial("strides")?,
        dilation,
        padding,
        groups,
    };
    single(op, input)
}

/// Zeros around a map, `[[0, 0], [top, bottom], [left, right], [0, 0]]`.
pub(super) fn pad<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    if call.inputs.len() == 3 {
        let fill = call.constant(2)?.floats(call.budget)?.data;
        if fill != [0.0] {
            return Err("only zeros can be added".into());
        }
    } else {
        call.arity(2)?;
    }
    let sides = call.integers(1)?;
    let &[0, 0, top, bottom, left, right, 0, 0] = &sides[..] else {
        return Err(format!("pads by {}, needs [0, 0, top, bottom, left, right, 0, 0]", shown(&sides)));
    };
    let side = |n: i64| usize::try_from(n).map_err(|_| format!("pads by {n} pixels"));
    let op = Op::Pad { before: [side(top)?, side(left)?], after: [side(bottom)?, side(right)?] };
    single(op, call.layer(0)?)
}

/// Inputs: the map, then scale, offset, mean and variance. TensorFlow trains unless it is told not to.
pub(super) fn batch_norm<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(5)?;
    call.is_nhwc()?;
    if call.flag("is_training", true)? {
        return Err("is_training is set: its statistics are not in the file".into());
    }
    let epsilon = call.float("epsilon", 1e-4)?;
    normalized(call, epsilon, [Some(1), Some(2)], [3, 4])
}

/// Inputs: the map, then mean, variance, offset and scale.
pub(super) fn old_batch_norm<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(5)?;
    let scales = call.flag("scale_after_normalization", false)?;
    let epsilon = call.float("variance_epsilon", 0.0)?;
    normalized(call, epsilon, [scales.then_some(4), Some(3)], [1, 2])
}

/// `(x − mean) · scale / √(variance + epsilon) + offset` as one scale and one offset.
fn normalized<'a>(
    call: &mut Call<'a, '_>,
    epsilon: f32,
    [scale, offset]: [Option<usize>; 2],
    [mean, variance]: [usize; 2],
) -> Result<Output<'a>, String> {
    let layer = call.layer(0)?;
    let channels = call.builder.channels(layer);
    let mut values = |index: Option<usize>, absent: f32| match index {
        Some(index) => call.per_channel(index, channels),
        None => Ok(vec![absent; channels]),
    };
    let (scale, offset) = (values(scale, 1.0)?, values(offset, 0.0)?);
    let (mean, variance) = (values(Some(mean), 0.0)?, values(Some(variance), 1.0)?);
    let affine = Affine::of_statistics([&scale, &offset, &mean, &variance], f64::from(epsilon));
    single(affine.as_scale(), layer)
}

pub(super) fn lrn<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(1)?;
    let op = Op::Lrn {
        radius: call.count("depth_radius", 5)?,
        bias: call.float("bias", 1.0)?,
        alpha: call.float("alpha", 1.0)?,
        beta: call.float("beta", 0.5)?,
    };
    single(op, call.layer(0)?)
}

pub(super) fn mat_mul<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    if call.flag("transpose_a", false)? {
        return Err("transpose_a is not supported".into());
    }
    let input = call.layer(0)?;
    let ([rows, columns], data) = call.weight(1)?;
    let weight: Array = if call.flag("transpose_b", false)? {
        gather(&data, &[columns, rows], &[1, columns], 0)?
    } else {
        gather(&data, &[rows, columns], &[columns, 1], 0)?
    };
    single(Op::MatMul { weight }, input)
}

pub(super) fn pool<'a>(call: &mut Call<'a, '_>, op: fn(Window) -> Op) -> Result<Output<'a>, String> {
    call.arity(1)?;
    call.is_nhwc()?;
    let window =
        Window { kernel: call.spatial("ksize")?, stride: call.spatial("strides")?, padding: call.padding()? };
    single(op(window), call.layer(0)?)
}
