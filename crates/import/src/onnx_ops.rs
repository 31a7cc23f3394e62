//! ONNX's operations as a table. Names, attributes and defaults are those of the operator schemas of versions 7 to 22
//! (`docs/Operators.md`, `docs/Changelog.md` of ONNX).

use std::sync::Arc;

use super::{
    ImportError,
    batch_norm::Affine,
    floats::{Floats, combine, list},
    onnx_call::{Call, Constant, Value},
    onnx_layers as layers, onnx_parts as parts, onnx_shapes as shapes,
};
use reverie_graph::{NodeId, Op};

type Build = fn(&mut Call<'_, '_>) -> Result<Value, String>;

/// Every operation that can be imported: its attributes and its translation.
const RULES: &[(&str, &[&str], Build)] = &[
    ("Add", &[], |call| arithmetic(call, Arithmetic::Add)),
    ("AveragePool", layers::AVERAGE, layers::average_pool),
    ("BatchNormalization", &["epsilon", "momentum", "spatial", "training_mode"], batch_normalization),
    ("Cast", &["to", "saturate"], |call| same(call)),
    ("Clip", &["min", "max"], clip),
    ("Concat", &["axis"], concat),
    ("Constant", &["value", "value_float", "value_int", "value_ints", "value_floats"], constant),
    ("ConstantOfShape", &["value"], shapes::constant_of_shape),
    ("Conv", layers::CONV, layers::conv),
    ("Div", &[], |call| arithmetic(call, Arithmetic::Div)),
    ("Dropout", &["ratio", "seed"], |call| unary(call, Op::Identity)),
    ("Flatten", &["axis"], shapes::flatten),
    ("Gather", &["axis"], parts::gather),
    ("Gemm", &["alpha", "beta", "transA", "transB"], layers::gemm),
    ("GlobalAveragePool", &[], |call| on_map(call, Op::GlobalAvgPool)),
    ("HardSigmoid", &["alpha", "beta"], hard_sigmoid),
    ("HardSwish", &[], |call| unary(call, Op::HardSwish)),
    ("Identity", &[], identity),
    ("LRN", &["size", "alpha", "beta", "bias"], layers::lrn),
    ("LeakyRelu", &["alpha"], leaky_relu),
    ("MatMul", &[], layers::mat_mul),
    ("MaxPool", layers::MAXIMUM, layers::max_pool),
    ("Mul", &[], |call| arithmetic(call, Arithmetic::Mul)),
    ("Pad", &["pads", "value", "mode"], layers::pad),
    ("ReduceMean", &["axes", "keepdims", "noop_with_empty_axes"], shapes::reduce_mean),
    ("Relu", &[], |call| unary(call, Op::Relu)),
    ("Reshape", &["allowzero"], shapes::reshape),
    ("Shape", &["start", "end"], shapes::shape),
    ("Sigmoid", &[], |call| unary(call, Op::Sigmoid)),
    ("Slice", &["axes", "starts", "ends"], parts::slice),
    ("Softmax", &["axis"], softmax),
    ("Squeeze", &["axes"], shapes::squeeze),
    ("Sub", &[], |call| arithmetic(call, Arithmetic::Sub)),
    ("Sum", &[], sum),
    ("Transpose", &["perm"], shapes::transpose),
    ("Unsqueeze", &["axes"], shapes::unsqueeze),
];

/// Translates one node whose inputs have been translated.
///
/// # Errors
/// Names the node: an unknown operation or attribute, or whatever its function refuses.
pub(super) fn translate(call: &mut Call<'_, '_>) -> Result<Value, ImportError> {
    let (name, op) = (call.name.to_owned(), call.node.op_type.clone());
    let Some((_, attributes, build)) = RULES.iter().find(|(rule, ..)| *rule == op) else {
        return Err(ImportError::UnknownOp { node: name, op });
    };
    let result = call.only(attributes).and_then(|()| build(call));
    result.map_err(|problem| ImportError::Node { node: name, op, problem })
}

/// A layer with its channels in front.
pub(super) fn plain(id: NodeId) -> Value {
    Value::Layer { id, nhwc: false }
}

/// An operation that treats each value by itself, so that the order of dimensions does not matter.
fn unary(call: &mut Call<'_, '_>, op: Op) -> Result<Value, String> {
    let (input, nhwc) = call.either(0)?;
    Ok(Value::Layer { id: call.layer(op, &[input])?, nhwc })
}

/// An operation on a map.
fn on_map(call: &mut Call<'_, '_>, op: Op) -> Result<Value, String> {
    call.arity(1, 1)?;
    let input = call.input(0)?;
    Ok(plain(call.layer(op, &[input])?))
}

fn same(call: &Call<'_, '_>) -> Result<Value, String> {
    call.inputs.first().cloned().flatten().ok_or_else(|| "has no input".into())
}

fn identity(call: &mut Call<'_, '_>) -> Result<Value, String> {
    match call.inputs.first() {
        Some(Some(constant @ Value::Constant(_))) => Ok(constant.clone()),
        _ => unary(call, Op::Identity),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// Of two layers, of a layer and a constant, or of two constants.
fn arithmetic(call: &mut Call<'_, '_>, kind: Arithmetic) -> Result<Value, String> {
    call.arity(2, 2)?;
    let constants = [0, 1].map(|index| matches!(call.inputs[index], Some(Value::Constant(_))));
    if constants == [true, true] {
        return of_constants(call, kind).map(Value::Constant);
    }
    if constants == [false, false] {
        let op = match kind {
            Arithmetic::Add => Op::Add,
            Arithmetic::Mul => Op::Multiply,
            Arithmetic::Sub | Arithmetic::Div => return Err("of two layers is not supported".into()),
        };
        let ((left, nhwc), (right, other)) = (call.either(0)?, call.either(1)?);
        if nhwc != other {
            return Err("one has its channels in front and one has them last".into());
        }
        return Ok(Value::Layer { id: call.layer(op, &[left, right])?, nhwc });
    }
    let (layer, constant) = if constants[1] { (0, 1) } else { (1, 0) };
    let (input, nhwc) = call.either(layer)?;
    let mut values = call.per_channel(constant, input, nhwc)?;
    let op = match kind {
        Arithmetic::Add => Op::BiasAdd { bias: list(values) },
        Arithmetic::Sub if constant == 1 => {
            values.iter_mut().for_each(|value| *value = -*value);
            Op::BiasAdd { bias: list(values) }
        }
        Arithmetic::Sub => {
            let scale = list(vec![-1.0; values.len()]);
            Op::Scale { scale, bias: Some(list(values)) }
        }
        Arithmetic::Mul => Op::Scale { scale: list(values), bias: None },
        Arithmetic::Div if constant == 1 => {
            values.iter_mut().for_each(|value| *value = value.recip());
            Op::Scale { scale: list(values), bias: None }
        }
        Arithmetic::Div => return Err("of a constant over a layer is not supported".into()),
    };
    Ok(Value::Layer { id: call.layer(op, &[input])?, nhwc })
}

fn of_constants(call: &mut Call<'_, '_>, kind: Arithmetic) -> Result<Constant, String> {
    if call.constant(0)?.is_integer() {
        let (a, b) = (call.constant(0)?.integers()?, call.constant(1)?.integers()?);
        let shape = call.constant(0)?.shape()?;
        if a.len() != b.len() {
            return Err(format!("combines constants of {} and {} values", a.len(), b.len()));
        }
        let pair = |(a, b): (Option<i64>, Option<i64>)| match kind {
            Arithmetic::Add => a?.checked_add(b?),
            Arithmetic::Sub => a?.checked_sub(b?),
            Arithmetic::Mul => a?.checked_mul(b?),
            Arithmetic::Div => a?.checked_div(b?),
        };
        return Ok(Constant::Integers(shape, a.into_iter().zip(b).map(pair).collect()));
    }
    let function = match kind {
        Arithmetic::Add => |a, b| a + b,
        Arithmetic::Sub => |a, b| a - b,
        Arithmetic::Mul => |a, b| a * b,
        Arithmetic::Div => |a: f32, b: f32| a / b,
    };
    let (a, b) = (call.floats(0)?, call.floats(1)?);
    combine(&a, &b, function, call.budget).map(|floats| Constant::Floats(Arc::new(floats)))
}

/// The sum of any number of layers, two by two.
fn sum(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let layers = (0..call.inputs.len()).map(|index| call.input(index)).collect::<Result<Vec<_>, _>>()?;
    let id = match &layers[..] {
        [] => return Err("has no input".into()),
        [one] => call.layer(Op::Identity, &[*one])?,
        [first, between @ .., last] => {
            let mut sum = *first;
            for (index, next) in between.iter().enumerate() {
                sum = call.step(&format!("sum{index}"), Op::Add, &[sum, *next])?;
            }
            call.layer(Op::Add, &[sum, *last])?
        }
    };
    Ok(plain(id))
}

fn batch_normalization(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(5, 5)?;
    if call.int("training_mode", 0)? != 0 {
        return Err("training_mode is set: its statistics are not in the file".into());
    }
    if call.int("spatial", 1)? == 0 {
        return Err("statistics for each position (spatial 0) are not supported".into());
    }
    let input = call.input(0)?;
    let channels = call.builder.channels(input);
    let epsilon = f64::from(call.float("epsilon", 1e-5)?);
    let [scale, offset, mean, variance] = [1, 2, 3, 4].map(|index| call.list(index, channels));
    let (scale, offset, mean, variance) = (scale?, offset?, mean?, variance?);
    let affine = Affine::of_statistics([&scale, &offset, &mean, &variance], epsilon);
    Ok(plain(call.layer(affine.as_scale(), &[input])?))
}

/// Bounds are attributes before version 11, inputs since.
fn clip(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let mut bound = |index: usize, name: &str, absent: f32| -> Result<f32, String> {
        match call.optional(index)?.is_some() {
            true => call.list(index, 1).map(|values| values[0]),
            false => Ok(call.float(name, absent)?),
        }
    };
    let (low, high) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
    // The largest float is how old exporters write "no bound".
    let low = if low == f32::MIN { f32::NEG_INFINITY } else { low };
    let high = if high == f32::MAX { f32::INFINITY } else { high };
    let op = match (low, high) {
        (f32::NEG_INFINITY, f32::INFINITY) => Op::Identity,
        (0.0, f32::INFINITY) => Op::Relu,
        (0.0, 6.0) => Op::Relu6,
        _ => Op::Clip { low, high },
    };
    unary(call, op)
}

fn leaky_relu(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let slope = call.float("alpha", 0.01)?;
    unary(call, Op::LeakyRelu { slope })
}

/// `min(max(alpha · x + beta, 0), 1)`.
fn hard_sigmoid(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let (input, nhwc) = call.either(0)?;
    let channels = call.builder.channels(input);
    let (alpha, beta) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    call.budget.spend(2 * channels)?;
    let scale = Op::Scale { scale: list(vec![alpha; channels]), bias: Some(list(vec![beta; channels])) };
    let scaled = call.step("scaled", scale, &[input])?;
    Ok(Value::Layer { id: call.layer(Op::Clip { low: 0.0, high: 1.0 }, &[scaled])?, nhwc })
}

/// Along the channels, of layers; or of lists of integers.
fn concat(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let axis = call.int("axis", 1)?;
    if call
        .inputs
        .iter()
        .all(|input| matches!(input, Some(Value::Constant(constant)) if constant.is_integer()))
    {
        let mut joined = Vec::new();
        for index in 0..call.inputs.len() {
            joined.extend(call.constant(index)?.integers()?);
            if joined.len() > 64 {
                return Err("the list has more than 64 integers".into());
            }
        }
        return Ok(Value::Constant(Constant::Integers(vec![joined.len()], joined)));
    }
    let layers = (0..call.inputs.len()).map(|index| call.either(index)).collect::<Result<Vec<_>, _>>()?;
    let nhwc = layers.first().is_some_and(|(_, nhwc)| *nhwc);
    let channels: &[i64] = if nhwc { &[3, -1] } else { &[1, -3] };
    if !channels.contains(&axis) || layers.iter().any(|(_, other)| *other != nhwc) {
        return Err(format!("joins along axis {axis}, only channels ({}) are supported", channels[0]));
    }
    let layers: Vec<NodeId> = layers.into_iter().map(|(id, _)| id).collect();
    Ok(Value::Layer { id: call.layer(Op::Concat, &layers)?, nhwc })
}

fn constant(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(0, 0)?;
    let constant = if let Some(tensor) = call.tensor("value")? {
        Constant::Raw(Arc::new(tensor.clone()))
    } else if let Some(values) = call.ints("value_ints")? {
        let values: Vec<_> = values.iter().take(64).copied().map(Some).collect();
        Constant::Integers(vec![values.len()], values)
    } else if call.node.attribute.iter().any(|attr| attr.name == "value_int") {
        Constant::Integers(Vec::new(), vec![Some(call.int("value_int", 0)?)])
    } else if call.node.attribute.iter().any(|attr| attr.name == "value_float") {
        Constant::Floats(Arc::new(Floats { shape: Vec::new(), data: vec![call.float("value_float", 0.0)?] }))
    } else {
        return Err("holds nothing that can be read".into());
    };
    Ok(Value::Constant(constant))
}

fn softmax(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let (input, nhwc) = call.either(0)?;
    let is_map = call.builder.is_map(input);
    let axis = call.int("axis", if call.opset < 13 { 1 } else { -1 })?;
    let channels: &[i64] = match (is_map, nhwc) {
        (false, _) => &[1, -1],
        (true, false) => &[1, -3],
        (true, true) => &[3, -1],
    };
    // Before version 13 everything from the axis on competes: rows and columns too, where there are some.
    let positions = is_map && !nhwc && call.opset < 13 && !has_one_position(call, input);
    if !channels.contains(&axis) || positions {
        return Err(format!(
            "along axis {axis} of {} is not supported",
            if is_map { "a map" } else { "rows" }
        ));
    }
    Ok(Value::Layer { id: call.layer(Op::Softmax, &[input])?, nhwc })
}

/// Whether a map has one position whatever the image: the mean over all of another, and what is computed from that.
fn has_one_position(call: &Call<'_, '_>, mut id: NodeId) -> bool {
    // Few operations follow such a mean.
    const STEPS: usize = 16;
    for _ in 0..STEPS {
        let Some(node) = call.builder.nodes().get(id.0) else { return false };
        match (&node.op, &node.inputs[..]) {
            (Op::GlobalAvgPool | Op::AsMap, _) => return true,
            (Op::Conv2d { .. } | Op::MaxPool(_) | Op::AvgPool { .. } | Op::Pad { .. }, _) => return false,
            (_, [input]) => id = *input,
            _ => return false,
        }
    }
    false
}
