//! TensorFlow's operations as a table: a line each, and a small function that reads the node's attributes
//! and inputs. Names, attributes and defaults are those of TensorFlow's op definitions
//! (`tensorflow/core/ops/{nn,array,math,control_flow}_ops.cc`). Here are the operations that move, combine and reshape values;
//! `tf_layers` has those with weights and windows.

use std::rc::Rc;

use super::{
    ImportError,
    floats::list,
    graphdef::DT_BOOL,
    tf_call::{Call, Output, Value, shown},
    tf_const::{Constant, Folded},
    tf_fold, tf_layers as layers,
};
use reverie_graph::{NodeId, Op};

type Build = for<'a> fn(&mut Call<'a, '_>) -> Result<Output<'a>, String>;

/// An operation that can be imported.
struct Rule {
    op: &'static str,
    /// Attributes that `build` reads.
    attributes: &'static [&'static str],
    build: Build,
}

const fn rule(op: &'static str, attributes: &'static [&'static str], build: Build) -> Rule {
    Rule { op, attributes, build }
}

const CONV: &[&str] = &["T", "strides", "padding", "explicit_paddings", "data_format", "dilations"];
const POOL: &[&str] = &["T", "ksize", "strides", "padding", "explicit_paddings", "data_format"];
const LRN: &[&str] = &["T", "depth_radius", "bias", "alpha", "beta"];
const NORM: &[&str] = &["T", "epsilon", "is_training", "data_format"];
const OLD_NORM: &[&str] = &["T", "variance_epsilon", "scale_after_normalization"];
const SLICE: &[&str] = &["begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];
const RESIZE: &[&str] = &["align_corners", "half_pixel_centers"];
const DECODE: &[&str] = &[
    "channels",
    "ratio",
    "fancy_upscaling",
    "try_recover_truncated",
    "acceptable_fraction",
    "dct_method",
    "dtype",
    "expand_animations",
];

/// Every operation that can be imported, in alphabetical order. Those that only combine constants are in `tf_fold`.
const RULES: &[Rule] = &[
    rule("Add", &["T"], |call| sum(call, 1.0)),
    rule("AddV2", &["T"], |call| sum(call, 1.0)),
    rule("AvgPool", POOL, |call| layers::pool(call, |window| Op::AvgPool { window, count_padding: false })),
    rule("BatchNormWithGlobalNormalization", OLD_NORM, layers::old_batch_norm),
    rule("BiasAdd", &["T", "data_format"], bias_add),
    rule("Cast", &["Truncate"], alias),
    rule("CheckNumerics", &["T", "message"], alias),
    rule("Concat", &["T"], |call| concat(call, 0)),
    rule("ConcatV2", &["T"], |call| concat(call, call.inputs.len().saturating_sub(1))),
    rule("Const", &["dtype", "value"], constant),
    rule("Conv2D", CONV, layers::conv2d),
    rule("DecodeImage", DECODE, image),
    rule("DecodeJpeg", DECODE, image),
    rule("DecodePng", DECODE, image),
    rule("DepthwiseConv2dNative", CONV, layers::depthwise),
    rule("ExpandDims", &[], on_image),
    rule("FusedBatchNorm", NORM, layers::batch_norm),
    rule("FusedBatchNormV2", NORM, layers::batch_norm),
    rule("FusedBatchNormV3", NORM, layers::batch_norm),
    rule("Identity", &["T"], identity),
    rule("LRN", LRN, layers::lrn),
    rule("LeakyRelu", &["T", "alpha"], leaky_relu),
    rule("MatMul", &["T", "transpose_a", "transpose_b"], layers::mat_mul),
    rule("MaxPool", POOL, |call| layers::pool(call, Op::MaxPool)),
    rule("Maximum", &["T"], maximum),
    rule("Mean", &["T", "keep_dims"], mean),
    rule("Minimum", &["T"], minimum),
    rule("Mul", &["T"], product),
    rule("Neg", &["T"], negative),
    rule("Pad", &["T"], layers::pad),
    rule("PadV2", &["T"], layers::pad),
    rule("Placeholder", &["dtype", "shape"], placeholder),
    rule("PlaceholderWithDefault", &["dtype", "shape"], with_default),
    rule("RealDiv", &["T"], quotient),
    rule("Relu", &["T"], |call| unary(call, Op::Relu)),
    rule("Relu6", &["T"], |call| unary(call, Op::Relu6)),
    rule("Reshape", &["T"], reshape),
    rule("ResizeBilinear", RESIZE, on_image),
    rule("ResizeNearestNeighbor", RESIZE, on_image),
    rule("Shape", &["out_type"], shape),
    rule("Sigmoid", &["T"], |call| unary(call, Op::Sigmoid)),
    rule("Softmax", &["T"], |call| unary(call, Op::Softmax)),
    rule("Squeeze", &["T", "squeeze_dims"], squeeze),
    rule("StopGradient", &["T"], identity),
    rule("StridedSlice", SLICE, |_| Err("only a slice of a constant is supported".into())),
    rule("Sub", &["T"], |call| sum(call, -1.0)),
    rule("Switch", &[], switch),
];

/// Attributes that cannot change the values of an operation in the table:
/// `N`, the number of inputs, repeats what the list of inputs says; those with `T` are types of axes, shapes and statistics,
/// which constants carry themselves; the rest choose or annotate an implementation, or matter in training only.
/// So do names that begin with an underscore, which TensorFlow reserves for that.
const HARMLESS: [&str; 13] = [
    "N",
    "Tidx",
    "Tshape",
    "Tpaddings",
    "Tdim",
    "U",
    "Index",
    "SrcT",
    "DstT",
    "exponential_avg_factor",
    "grad_a",
    "grad_b",
    "use_cudnn_on_gpu",
];

/// Colour channels of the image.
const CHANNELS: usize = 3;

/// Translates one node whose `inputs` have been translated.
///
/// # Errors
/// Names the node: an unknown operation or attribute, or whatever its function refuses.
pub(super) fn translate<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, ImportError> {
    let (name, op) = (&call.node.name, &call.node.op);
    let refused = |problem| ImportError::Node { node: name.clone(), op: op.clone(), problem };
    if let Some(folded) = tf_fold::fold(call) {
        let folded = folded.map_err(refused)?;
        return Ok(Output::Value(Value::Constant(Constant::Folded(Rc::new(folded)))));
    }
    let rule = RULES.iter().find(|rule| rule.op == op);
    let rule = rule.ok_or_else(|| ImportError::UnknownOp { node: name.clone(), op: op.clone() })?;
    for attribute in call.node.attr.keys() {
        let known = attribute.starts_with('_')
            || HARMLESS.contains(&attribute.as_str())
            || rule.attributes.contains(&attribute.as_str())
            || attribute == "T";
        if !known {
            return Err(ImportError::UnknownAttribute {
                node: name.clone(),
                op: op.clone(),
                attribute: attribute.clone(),
            });
        }
    }
    // A constant of any type may pass through.
    let of_layers = call.inputs.iter().any(|input| matches!(input, Value::Layer(_)));
    let typed = if of_layers && rule.attributes.contains(&"T") { call.is_float("T") } else { Ok(()) };
    typed.and_then(|()| (rule.build)(call)).map_err(refused)
}

/// A layer with one input.
pub(super) fn single<'a>(op: Op, input: NodeId) -> Result<Output<'a>, String> {
    Ok(Output::Layer(op, vec![input]))
}

fn unary<'a>(call: &mut Call<'a, '_>, op: Op) -> Result<Output<'a>, String> {
    call.arity(1)?;
    single(op, call.layer(0)?)
}

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
fn sum<'a>(call: &mut Call<'a, '_>, sign: f32) -> Result<Output<'a>, String> {
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

fn product<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let Some((layer, constant)) = with_constant(call)? else {
        return Ok(Output::Layer(Op::Multiply, vec![call.layer(0)?, call.layer(1)?]));
    };
    let channels = call.builder.channels(layer);
    single(Op::Scale { scale: list(call.per_channel(constant, channels)?), bias: None }, layer)
}

fn quotient<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let Some((layer, 1)) = with_constant(call)? else {
        return Err("only a layer over a constant is supported".into());
    };
    let channels = call.builder.channels(layer);
    let mut values = call.per_channel(1, channels)?;
    values.iter_mut().for_each(|value| *value = value.recip());
    single(Op::Scale { scale: list(values), bias: None }, layer)
}

fn negative<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
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

fn maximum<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let Some((layer, constant)) = with_constant(call)? else { return leaky(call) };
    match bound(call, constant)? {
        0.0 => single(Op::Relu, layer),
        low => single(Op::Clip { low, high: f32::INFINITY }, layer),
    }
}

fn minimum<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
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

fn leaky_relu<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let slope = call.float("alpha", 0.2)?;
    unary(call, Op::LeakyRelu { slope })
}

fn bias_add<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    call.is_nhwc()?;
    let ([_], data) = call.weight(1)?;
    single(Op::BiasAdd { bias: list(data) }, call.layer(0)?)
}

/// `axis` is the index of the input that holds the axis: the first of Concat, the last of ConcatV2.
fn concat<'a>(call: &mut Call<'a, '_>, axis: usize) -> Result<Output<'a>, String> {
    let joined = (0..call.inputs.len()).filter(|&index| index != axis);
    let joined = joined.map(|index| call.layer(index)).collect::<Result<Vec<_>, _>>()?;
    match call.integers(axis)?[..] {
        [3 | -1] if !joined.is_empty() => Ok(Output::Layer(Op::Concat, joined)),
        [3 | -1] => Err("has nothing to join".into()),
        ref other => Err(format!("joins along axis {}, only channels (3) are supported", shown(other))),
    }
}

fn constant<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(0)?;
    Ok(Output::Value(Value::Constant(Constant::Raw(call.tensor("value")?))))
}

/// What comes in, under the same name.
fn alias<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.inputs.first().cloned().map(Output::Value).ok_or_else(|| "has no input".into())
}

fn identity<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(1)?;
    match call.inputs {
        // Frozen variables are read through an Identity.
        [Value::Constant(constant)] => Ok(Output::Value(Value::Constant(constant.clone()))),
        _ => single(Op::Identity, call.layer(0)?),
    }
}

/// Resizing the image that was read from a file, and making a batch of it: what a dream does itself.
fn on_image<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let layer = call.layer(0)?;
    match call.builder.nodes().get(layer.0).map(|node| &node.op) {
        Some(Op::Input { .. }) => alias(call),
        _ => Err("is supported on the image only".into()),
    }
}

fn mean<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    let axes = call.integers(1)?;
    let mut positive: Vec<i64> =
        axes.iter().map(|&axis| if axis < 0 { axis.saturating_add(4) } else { axis }).collect();
    positive.sort_unstable();
    let op = if call.flag("keep_dims", false)? { Op::GlobalAvgPool } else { Op::SpatialMean };
    match positive[..] {
        [1, 2] => single(op, call.layer(0)?),
        _ => Err(format!("averages over axes {}, only [1, 2] are supported", shown(&axes))),
    }
}

fn image<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    if !call.is_image {
        return Err("is not where the image comes in".into());
    }
    Ok(Output::Layer(Op::Input { channels: CHANNELS }, Vec::new()))
}

/// Heights and widths in the shape are of no interest: a convolutional network takes any, and where it
/// does not, its Reshape says so. A shape of no dimensions is how old graphs say "unknown".
fn placeholder<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(0)?;
    if !call.is_image {
        // Keras asks it whether the network is being trained.
        let asks = call.node.name.ends_with("learning_phase") && call.is_type("dtype", DT_BOOL)?;
        if asks {
            return Ok(Output::Value(Value::Constant(Constant::Folded(Rc::new(Folded::Flag(false))))));
        }
        return Err("is a second input, whose value is not in the file".into());
    }
    call.is_float("dtype")?;
    if let Some(shape) = call.shape("shape")?.filter(|shape| !shape.unknown_rank) {
        let sizes: Vec<i64> = shape.dim.iter().map(|dim| dim.size).collect();
        if !matches!(sizes[..], [] | [_, _, _, -1 | 3]) {
            return Err(format!("has the shape {}, needs [batch, height, width, 3]", shown(&sizes)));
        }
    }
    image(call)
}

fn with_default<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    if call.is_image { image(call) } else { alias(call) }
}

/// Only the branch that a constant predicate takes goes on.
fn switch<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    let taken = call.constant(1)?.flag()?;
    match call.inputs.first() {
        Some(data) => Ok(Output::Switch { data: data.clone(), taken }),
        None => Err("has no input".into()),
    }
}

fn shape<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let layer = call.layer(0)?;
    let shape = tf_fold::shape_of_layer(call.builder.is_map(layer), call.builder.channels(layer));
    Ok(Output::Value(Value::Constant(Constant::Folded(Rc::new(shape)))))
}

fn flatten<'a>(features: usize, layer: NodeId) -> Result<Output<'a>, String> {
    single(Op::Flatten { features, channels_first: false }, layer)
}

/// Of a map of one position the channels are the row. Of a larger one, as an image of another size than the network was
/// trained on has it, each position gives a row.
fn squeeze<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(1)?;
    let layer = call.layer(0)?;
    let axes = call.ints("squeeze_dims")?.unwrap_or_default();
    let spatial = axes.iter().all(|axis| [1, 2, -2, -3].contains(axis));
    match (call.builder.is_map(layer), spatial) {
        (true, true) => flatten(call.builder.channels(layer), layer),
        (false, true) => single(Op::Identity, layer),
        _ => Err(format!("removes the axes {}, only [1, 2] are supported", shown(axes))),
    }
}

fn reshape<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    let layer = call.layer(0)?;
    let (is_map, channels) = (call.builder.is_map(layer), call.builder.channels(layer));
    let wanted = call.constant(1)?.integers()?;
    match wanted[..] {
        // A batch of one, or of as many images as there are.
        [None | Some(-1 | 1), Some(-1)] => match call.row_length {
            _ if !is_map => single(Op::Identity, layer),
            Some(features) => flatten(features, layer),
            None => Err("the length of the rows depends on the size of the image".into()),
        },
        [None | Some(-1 | 1), Some(features @ 1..)] => {
            flatten(usize::try_from(features).map_err(|error| error.to_string())?, layer)
        }
        [None | Some(-1 | 1), Some(1), Some(1), Some(features)]
            if features == -1 || usize::try_from(features) == Ok(channels) =>
        {
            single(if is_map { Op::Identity } else { Op::AsMap }, layer)
        }
        _ => {
            let wanted: Vec<i64> = wanted.iter().map(|extent| extent.unwrap_or(-1)).collect();
            Err(format!(
                "the new shape is {}, only [-1, n] and [-1, 1, 1, channels] are supported",
                shown(&wanted)
            ))
        }
    }
}
