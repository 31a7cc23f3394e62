//! ONNX's operations with weights and windows: convolutions, products, poolings, normalisation, padding.

use super::{
    floats::{Floats, list},
    onnx_call::{Call, Value, shown},
    onnx_ops::plain,
    padding::absorb,
    strided::gather,
};
use reverie_graph::{Array, Op};

pub(super) const CONV: &[&str] = &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
pub(super) const MAXIMUM: &[&str] =
    &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"];
pub(super) const AVERAGE: &[&str] =
    &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"];

/// Inputs: the map, `[out, in / group, height, width]`, and `[out]` where there is a bias.
pub(super) fn conv(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(2, 3)?;
    let input = call.input(0)?;
    let weight = call.weight(1)?;
    let shape = &weight.shape;
    let &[outer, _, height, width] = &shape[..] else {
        return Err(format!("the weight has the shape {shape:?}, needs four dimensions"));
    };
    if shape.contains(&0) || call.pair("kernel_shape")?.is_some_and(|kernel| kernel != [height, width]) {
        return Err(format!("the weight has the shape {shape:?}, which is not that of kernel_shape"));
    }
    let bias = if call.optional(2)?.is_some() { Some(list(call.list(2, outer)?)) } else { None };
    let groups = usize::try_from(call.int("group", 1)?).map_err(|error| error.to_string())?;
    let dilation = call.pair("dilations")?.unwrap_or([1, 1]);
    let extent = [(height, dilation[0]), (width, dilation[1])];
    let extent = extent.map(|(n, step)| (n - 1).saturating_mul(step).saturating_add(1));
    let (input, padding) = absorb(call.builder.nodes(), input, call.padding(false)?, extent);
    let stride = call.pair("strides")?.unwrap_or([1, 1]);
    let op = Op::Conv2d { weight, bias, stride, dilation, padding, groups };
    Ok(plain(call.layer(op, &[input])?))
}

/// `alpha · A · B + beta · C`, with a constant B and C.
pub(super) fn gemm(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(2, 3)?;
    if call.int("transA", 0)? != 0 {
        return Err("transA is not supported".into());
    }
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let input = call.input(0)?;
    let weight = matrix(call, call.int("transB", 0)? != 0, alpha)?;
    let columns = weight.shape[1];
    if call.optional(2)?.is_none() {
        return Ok(plain(call.layer(Op::MatMul { weight }, &[input])?));
    }
    let Floats { shape, data } = call.floats(2)?;
    let bias: Vec<f32> = match data[..] {
        [value] => vec![value * beta; columns],
        _ if data.len() == columns => data.iter().map(|value| value * beta).collect(),
        _ => return Err(format!("the bias has the shape {shape:?}, needs [{columns}]")),
    };
    let product = call.step("product", Op::MatMul { weight }, &[input])?;
    Ok(plain(call.layer(Op::BiasAdd { bias: list(bias) }, &[product])?))
}

pub(super) fn mat_mul(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(2, 2)?;
    let input = call.input(0)?;
    let weight = matrix(call, false, 1.0)?;
    Ok(plain(call.layer(Op::MatMul { weight }, &[input])?))
}

/// The second input, `[in, out]`, times `alpha`.
fn matrix(call: &mut Call<'_, '_>, transposed: bool, alpha: f32) -> Result<Array, String> {
    let mut weight = call.weight(1)?;
    let (&[first, second], false) = (&weight.shape[..], weight.shape.contains(&0)) else {
        return Err(format!("the weight has the shape {:?}, needs two dimensions", weight.shape));
    };
    if alpha != 1.0 {
        weight.data = weight.data.iter().map(|value| value * alpha).collect();
    }
    match transposed {
        true if weight.is_repeated() => Ok(Array { shape: vec![second, first], ..weight }),
        true => {
            call.budget.spend(weight.data.len())?;
            gather(&weight.data, &[second, first], &[1, second], 0)
        }
        false => Ok(weight),
    }
}

pub(super) fn max_pool(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let input = call.input(0)?;
    let window = call.window()?;
    Ok(plain(call.layer(Op::MaxPool(window), &[input])?))
}

pub(super) fn average_pool(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let input = call.input(0)?;
    let op = Op::AvgPool { window: call.window()?, count_padding: call.int("count_include_pad", 0)? != 0 };
    Ok(plain(call.layer(op, &[input])?))
}

/// ONNX divides alpha by the number of channels in the window; there is one window of odd size around each channel.
pub(super) fn lrn(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let input = call.input(0)?;
    let size = usize::try_from(call.int("size", 0)?).unwrap_or(0);
    if size.is_multiple_of(2) {
        return Err(format!("the size {size} must be odd"));
    }
    let op = Op::Lrn {
        radius: size / 2,
        bias: call.float("bias", 1.0)?,
        alpha: (f64::from(call.float("alpha", 1e-4)?) / size as f64) as f32,
        beta: call.float("beta", 0.75)?,
    };
    Ok(plain(call.layer(op, &[input])?))
}

/// Zeros around a map: `pads` is an attribute before version 11, an input since, with all that come before and then all
/// that come after.
pub(super) fn pad(call: &mut Call<'_, '_>) -> Result<Value, String> {
    if let Some(mode @ ("reflect" | "edge" | "wrap")) = call.text("mode")? {
        return Err(format!("the mode {mode} is not supported, only zeros are added"));
    }
    let fill = if call.optional(2)?.is_some() { call.list(2, 1)?[0] } else { call.float("value", 0.0)? };
    if fill != 0.0 || call.optional(3)?.is_some() {
        return Err("only zeros are added, and around rows and columns".into());
    }
    let sides = match call.ints("pads")? {
        Some(sides) => sides.to_vec(),
        None => call.integers(1)?,
    };
    let &[0, 0, top, left, 0, 0, bottom, right] = &sides[..] else {
        return Err(format!("pads by {}, needs [0, 0, top, left, 0, 0, bottom, right]", shown(&sides)));
    };
    let side = |n: i64| usize::try_from(n).map_err(|_| format!("pads by {n} pixels"));
    let op = Op::Pad { before: [side(top)?, side(left)?], after: [side(bottom)?, side(right)?] };
    let input = call.input(0)?;
    Ok(plain(call.layer(op, &[input])?))
}
