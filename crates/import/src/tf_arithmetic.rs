//! TensorFlow's arithmetic: sums, products and bounds of layers and constants.

use super::{
    floats::list,
    tf_call::{Call, Output, Value},
    tf_ops::{single, unary},
};
use reverie_graph::{NodeId, Op};

/// The layer and the index of the constant of a node with one of each; none for one with two layers.
fn with_constant(call: &Call<'_, '_>) -> Result<Option<(NodeId, usize)>, String> {
    call.arity(2)?;
    match call.inputs {
        [Value::Layer(layer), Value::Constant(_)] => Ok(Some((*layer, 1))),
        [Value::Constant(_), Value::Layer(layer)] => Ok(Some((*layer, 0))),
        _ => Ok(None),
    }
}

/// `a + sign · b`, of two layers or of a layer and a constant.
pub(super) fn sum<'a>(call: &mut Call<'a, '_>, sign: f32) -> Result<Output<'a>, String> {
    let Some((layer, constant)) = with_constant(call)? else {
        if sign < 0.0 {
            return Err("the difference of two layers is not supported".into());
        }
        return Ok(Output::Layer(Op::Add, vec![call.layer(0)?, call.layer(1)?]));
    };
    let channels = call.builder.channels(layer);
    let mut values = call.per_channel(constant, channels)?;
    if sign < 0.0 && constant == 0 {
        let scale = list(vec![-1.0; channels]);
        return single(Op::Scale { scale, bias: Some(list(values)) }, layer);
    }
    values.iter_mut().for_each(|value| *value *= sign);
    single(Op::BiasAdd { bias: list(values) }, layer)
}

pub(super) fn product<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let Some((layer, constant)) = with_constant(call)? else {
        return Ok(Output::Layer(Op::Multiply, vec![call.layer(0)?, call.layer(1)?]));
    };
    let channels = call.builder.channels(layer);
    single(Op::Scale { scale: list(call.per_channel(constant, channels)?), bias: None }, layer)
}

pub(super) fn quotient<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let Some((layer, 1)) = with_constant(call)? else {
        return Err("only a layer over a constant is supported".into());
    };
    let channels = call.builder.channels(layer);
    let mut values = call.per_channel(1, channels)?;
    values.iter_mut().for_each(|value| *value = value.recip());
    single(Op::Scale { scale: list(values), bias: None }, layer)
}

pub(super) fn negative<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(1)?;
    let layer = call.layer(0)?;
    single(Op::Scale { scale: list(vec![-1.0; call.builder.channels(layer)]), bias: None }, layer)
}

/// A bound of all values.
fn bound(call: &mut Call<'_, '_>, constant: usize) -> Result<f32, String> {
    match call.per_channel(constant, 1)?[..] {
        [bound] => Ok(bound),
        _ => Err("the bound must be one value".into()),
    }
}

pub(super) fn maximum<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let Some((layer, constant)) = with_constant(call)? else { return leaky(call) };
    match bound(call, constant)? {
        0.0 => single(Op::Relu, layer),
        low => single(Op::Clip { low, high: f32::INFINITY }, layer),
    }
}

pub(super) fn minimum<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let Some((layer, constant)) = with_constant(call)? else {
        return Err("only the minimum of a layer and a constant is supported".into());
    };
    single(Op::Clip { low: f32::NEG_INFINITY, high: bound(call, constant)? }, layer)
}

/// `max(x, slope · x)` is how a leaky ReLU was written before it was an operation.
fn leaky<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let (a, b) = (call.layer(0)?, call.layer(1)?);
    for (x, scaled) in [(a, b), (b, a)] {
        let node = &call.builder.nodes()[scaled.0];
        if let (Op::Scale { scale, bias: None }, true) = (&node.op, node.inputs[..] == [x])
            && let Some(&slope) = scale.data.first()
            && scale.data.iter().all(|&other| other == slope)
            && (0.0..1.0).contains(&slope)
        {
            return single(Op::LeakyRelu { slope }, x);
        }
    }
    Err("only the maximum of a layer and a constant, or of a layer and a fraction of it, is supported".into())
}

pub(super) fn leaky_relu<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let slope = call.float("alpha", 0.2)?;
    unary(call, Op::LeakyRelu { slope })
}

pub(super) fn bias_add<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    call.is_nhwc()?;
    let ([_], data) = call.weight(1)?;
    single(Op::BiasAdd { bias: list(data) }, call.layer(0)?)
}
