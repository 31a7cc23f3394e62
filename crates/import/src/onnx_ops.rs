//! ONNX's operations as a table. Names, attributes and defaults are those of the operator schemas of versions 7 to 22
//! (`docs/Operators.md`, `docs/Changelog.md` of ONNX).

use std::sync::Arc;

use super::{
    ImportError, batch_norm,
    floats::{Floats, combine, list},
    onnx_call::{Call, Constant, Value, shown},
    onnx_layers as layers, volume,
};
use reverie_graph::{NodeId, Op, Shape};

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
    ("ConstantOfShape", &["value"], constant_of_shape),
    ("Conv", layers::CONV, layers::conv),
    ("Div", &[], |call| arithmetic(call, Arithmetic::Div)),
    ("Dropout", &["ratio", "seed"], |call| unary(call, Op::Identity)),
    ("Flatten", &["axis"], flatten),
    ("Gather", &["axis"], gather_integer),
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
    ("ReduceMean", &["axes", "keepdims", "noop_with_empty_axes"], reduce_mean),
    ("Relu", &[], |call| unary(call, Op::Relu)),
    ("Reshape", &["allowzero"], reshape),
    ("Shape", &["start", "end"], shape),
    ("Sigmoid", &[], |call| unary(call, Op::Sigmoid)),
    ("Softmax", &["axis"], softmax),
    ("Squeeze", &["axes"], squeeze),
    ("Sub", &[], |call| arithmetic(call, Arithmetic::Sub)),
    ("Sum", &[], sum),
    ("Transpose", &["perm"], transpose),
    ("Unsqueeze", &["axes"], unsqueeze),
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
    let (scale, bias) = batch_norm::affine([&scale, &offset, &mean, &variance], epsilon);
    Ok(plain(call.layer(Op::Scale { scale, bias: Some(bias) }, &[input])?))
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

fn constant_of_shape(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let shape = call.integers(0)?;
    let extent = |&n: &i64| usize::try_from(n).map_err(|_| format!("the constant has a dimension of {n}"));
    let shape = shape.iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    let count = volume(&shape)?;
    let value = match call.tensor("value")? {
        Some(tensor) => match Constant::Raw(Arc::new(tensor.clone())).floats(call.budget)?.data[..] {
            [value] => value,
            _ => return Err("the value must be one float".into()),
        },
        None => 0.0,
    };
    call.budget.spend(count)?;
    Ok(Value::Constant(Constant::Floats(Arc::new(Floats { shape, data: vec![value; count] }))))
}

/// What is known of a layer's shape without the image.
fn shape(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let extents: Vec<Option<i64>> = match call.inputs.first() {
        Some(Some(Value::Constant(constant))) => {
            constant.shape()?.into_iter().map(|extent| i64::try_from(extent).ok()).collect()
        }
        _ => {
            let (id, nhwc) = call.either(0)?;
            let channels = i64::try_from(call.builder.channels(id)).ok();
            match (call.builder.is_map(id), nhwc) {
                (true, false) => vec![None, channels, None, None],
                (true, true) => vec![None, None, None, channels],
                (false, _) => vec![None, channels],
            }
        }
    };
    if call.int("start", 0)? != 0 || call.node.attribute.iter().any(|attr| attr.name == "end") {
        return Err("a part of a shape is not supported".into());
    }
    Ok(Value::Constant(Constant::Integers(vec![extents.len()], extents)))
}

/// Elements of a list of integers.
fn gather_integer(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(2, 2)?;
    let (values, indices) = (call.constant(0)?.integers()?, call.integers(1)?);
    let shape = call.constant(1)?.shape()?;
    let pick = |&index: &i64| {
        let index = if index < 0 { index.saturating_add(values.len() as i64) } else { index };
        usize::try_from(index).ok().and_then(|index| values.get(index).copied()).ok_or("the index is outside")
    };
    let picked = indices.iter().map(pick).collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Constant(Constant::Integers(shape, picked)))
}

/// Axes are an attribute in old versions and an input in new ones.
fn axes(call: &Call<'_, '_>) -> Result<Option<Vec<i64>>, String> {
    if call.optional(1)?.is_some() {
        return call.integers(1).map(Some);
    }
    Ok(call.ints("axes")?.map(<[i64]>::to_vec))
}

/// Whether axes are the rows and columns of a map.
fn are_spatial(axes: &[i64], nhwc: bool) -> bool {
    let mut axes: Vec<i64> =
        axes.iter().map(|&axis| if axis < 0 { axis.saturating_add(4) } else { axis }).collect();
    axes.sort_unstable();
    axes == if nhwc { [1, 2] } else { [2, 3] }
}

fn reduce_mean(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let (input, nhwc) = call.either(0)?;
    let axes = axes(call)?.unwrap_or_default();
    if !are_spatial(&axes, nhwc) {
        return Err(format!("averages over axes {}, only rows and columns are supported", shown(&axes)));
    }
    let keeps = call.int("keepdims", 1)? != 0;
    let op = if keeps { Op::GlobalAvgPool } else { Op::SpatialMean };
    Ok(Value::Layer { id: call.layer(op, &[input])?, nhwc: nhwc && keeps })
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

/// `perm` puts channels last or in front; of constants it transposes a matrix.
fn transpose(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let perm = call.ints("perm")?.unwrap_or_default();
    if call.optional(0).is_ok_and(|constant| constant.is_some()) {
        let Floats { shape, data } = call.floats(0)?;
        let (&[rows, columns], [] | [1, 0]) = (&shape[..], perm) else {
            return Err("of constants, only that of a matrix is supported".into());
        };
        call.budget.spend(data.len())?;
        let data = (0..data.len()).map(|index| data[index % rows * columns + index / rows]).collect();
        return Ok(Value::Constant(Constant::Floats(Arc::new(Floats { shape: vec![columns, rows], data }))));
    }
    let (id, nhwc) = call.either(0)?;
    match (perm, nhwc) {
        ([0, 2, 3, 1], false) | ([0, 3, 1, 2], true) if call.builder.is_map(id) => {
            Ok(Value::Layer { id: call.layer(Op::Identity, &[id])?, nhwc: !nhwc })
        }
        _ => Err(format!("perm is {}, only channels last and channels in front are supported", shown(perm))),
    }
}

fn squeeze(call: &mut Call<'_, '_>) -> Result<Value, String> {
    if let Some(Some(Value::Constant(constant))) = call.inputs.first() {
        return Ok(Value::Constant(Constant::Integers(Vec::new(), constant.integers()?)));
    }
    let (input, nhwc) = call.either(0)?;
    match axes(call)? {
        Some(axes) if !are_spatial(&axes, nhwc) => {
            Err(format!("removes the axes {}, only rows and columns are supported", shown(&axes)))
        }
        _ if call.builder.is_map(input) => {
            let features = call.builder.channels(input);
            Ok(plain(call.layer(Op::Flatten { features, channels_first: !nhwc }, &[input])?))
        }
        _ => Err("of rows is not supported".into()),
    }
}

fn unsqueeze(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let axes = axes(call)?.unwrap_or_default();
    if let Some(Some(Value::Constant(constant))) = call.inputs.first() {
        let constant = constant.clone();
        return with_axes(call, &constant, &axes).map(Value::Constant);
    }
    let input = call.input(0)?;
    if call.builder.is_map(input) || !are_spatial(&axes, false) {
        return Err(format!("adds the axes {}, only rows and columns are supported", shown(&axes)));
    }
    Ok(plain(call.layer(Op::AsMap, &[input])?))
}

/// A constant with further dimensions of extent 1 at these places of its new shape.
fn with_axes(call: &mut Call<'_, '_>, constant: &Constant, axes: &[i64]) -> Result<Constant, String> {
    if constant.is_integer() {
        let values = constant.integers()?;
        return Ok(Constant::Integers(vec![values.len()], values));
    }
    // Nothing has more dimensions than that.
    const MOST: usize = 8;
    if axes.len() > MOST {
        return Err(format!("adds {} axes, at most {MOST} are allowed", axes.len()));
    }
    let Floats { mut shape, data } = constant.floats(call.budget)?;
    let rank = i64::try_from(shape.len() + axes.len()).map_err(|error| error.to_string())?;
    let mut places: Vec<i64> =
        axes.iter().map(|&axis| if axis < 0 { axis.saturating_add(rank) } else { axis }).collect();
    places.sort_unstable();
    for place in places {
        let place = usize::try_from(place).ok().filter(|&place| place <= shape.len());
        let place = place.ok_or_else(|| format!("adds the axes {} to the shape {shape:?}", shown(axes)))?;
        shape.insert(place, 1);
    }
    Ok(Constant::Floats(Arc::new(Floats { shape, data })))
}

fn flatten(call: &mut Call<'_, '_>) -> Result<Value, String> {
    match call.int("axis", 1)? {
        1 | -3 => rows(call, None),
        axis => Err(format!("from axis {axis} on is not supported, only from 1")),
    }
}

/// Rows, one for each image: as long as the file says, as what multiplies them needs, or as an image of the file's size
/// makes them.
fn rows(call: &mut Call<'_, '_>, length: Option<usize>) -> Result<Value, String> {
    let (input, nhwc) = call.either(0)?;
    if !call.builder.is_map(input) {
        return Ok(plain(call.layer(Op::Identity, &[input])?));
    }
    let features = match (length.or(call.row_length), call.size) {
        (Some(features), _) => Some(features),
        (None, Some([height, width])) => {
            // It walks over all nodes: a file of thousands of such must not take for ever.
            call.budget.spend(call.builder.nodes().len())?;
            call.builder.shape(input, height, width).map(Shape::len)
        }
        (None, None) => None,
    };
    let features = features.ok_or("the length of the rows depends on the size of the image")?;
    Ok(plain(call.layer(Op::Flatten { features, channels_first: !nhwc }, &[input])?))
}

fn reshape(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(2, 2)?;
    if let Some(Some(Value::Constant(constant))) = call.inputs.first() {
        let constant = constant.clone();
        return constant_reshaped(call, &constant).map(Value::Constant);
    }
    let (input, nhwc) = call.either(0)?;
    let (is_map, channels) = (call.builder.is_map(input), call.builder.channels(input));
    let wanted = call.constant(1)?.integers()?;
    // 0 stands for the extent that is there; the first is the number of images.
    match wanted[..] {
        [None | Some(-1..=1), Some(-1)] => rows(call, None),
        [None | Some(-1..=1), Some(length @ 1..)] => rows(call, usize::try_from(length).ok()),
        [None | Some(-1..=1), Some(features), Some(1), Some(1)]
            if !is_map && (features <= 0 || usize::try_from(features) == Ok(channels)) =>
        {
            Ok(plain(call.layer(Op::AsMap, &[input])?))
        }
        [_, None | Some(0 | -1), None | Some(0), None | Some(0)] if is_map => {
            Ok(Value::Layer { id: call.layer(Op::Identity, &[input])?, nhwc })
        }
        _ => {
            let wanted: Vec<i64> = wanted.iter().map(|extent| extent.unwrap_or(0)).collect();
            Err(format!(
                "the new shape is {}, only rows and maps of one position are supported",
                shown(&wanted)
            ))
        }
    }
}

fn constant_reshaped(call: &mut Call<'_, '_>, constant: &Constant) -> Result<Constant, String> {
    let wanted = call.integers(1)?;
    if constant.is_integer() {
        let values = constant.integers()?;
        return Ok(Constant::Integers(
            if wanted.is_empty() { Vec::new() } else { vec![values.len()] },
            values,
        ));
    }
    let Floats { shape, data } = constant.floats(call.budget)?;
    let kept = |axis: usize, extent: i64| match extent {
        0 => shape.get(axis).and_then(|&extent| i64::try_from(extent).ok()).unwrap_or(0),
        extent => extent,
    };
    let wanted: Vec<i64> = wanted.iter().enumerate().map(|(axis, &extent)| kept(axis, extent)).collect();
    let shape = super::tf_fold::new_shape(&wanted, data.len())?;
    Ok(Constant::Floats(Arc::new(Floats { shape, data })))
}
