//! TensorFlow's operations as a table: a line each, and a small function that reads the node's attributes
//! and inputs. Names, attributes and defaults are those of TensorFlow's op definitions
//! (`tensorflow/core/ops/{nn,array,math,control_flow}_ops.cc`). Here are those that hand values on: the
//! image, constants, branches. `tf_layers` has those with weights and windows, `tf_arithmetic` sums and products, `tf_shapes` what
//! joins and reshapes.

use std::rc::Rc;

use super::{
    ImportError,
    graphdef::DT_BOOL,
    tf_arithmetic as arithmetic,
    tf_call::{Call, Output, Value, shown},
    tf_const::{Constant, Folded},
    tf_fold, tf_layers as layers, tf_shapes as shapes,
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
    rule("Add", &["T"], |call| arithmetic::sum(call, 1.0)),
    rule("AddV2", &["T"], |call| arithmetic::sum(call, 1.0)),
    rule("AvgPool", POOL, |call| layers::pool(call, |window| Op::AvgPool { window, count_padding: false })),
    rule("BatchNormWithGlobalNormalization", OLD_NORM, layers::old_batch_norm),
    rule("BiasAdd", &["T", "data_format"], arithmetic::bias_add),
    rule("Cast", &["Truncate"], alias),
    rule("CheckNumerics", &["T", "message"], alias),
    rule("Concat", &["T"], |call| shapes::concat(call, 0)),
    rule("ConcatV2", &["T"], |call| shapes::concat(call, call.inputs.len().saturating_sub(1))),
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
    rule("IdentityN", &[], first_of_several),
    rule("LRN", LRN, layers::lrn),
    rule("LeakyRelu", &["T", "alpha"], arithmetic::leaky_relu),
    rule("MatMul", &["T", "transpose_a", "transpose_b"], layers::mat_mul),
    rule("MaxPool", POOL, |call| layers::pool(call, Op::MaxPool)),
    rule("Maximum", &["T"], arithmetic::maximum),
    rule("Mean", &["T", "keep_dims"], shapes::mean),
    rule("Minimum", &["T"], arithmetic::minimum),
    rule("Mul", &["T"], arithmetic::product),
    rule("Neg", &["T"], arithmetic::negative),
    rule("Pad", &["T"], layers::pad),
    rule("PadV2", &["T"], layers::pad),
    rule("Placeholder", &["dtype", "shape"], placeholder),
    rule("PlaceholderWithDefault", &["dtype", "shape"], with_default),
    rule("RealDiv", &["T"], arithmetic::quotient),
    rule("Relu", &["T"], |call| unary(call, Op::Relu)),
    rule("Relu6", &["T"], |call| unary(call, Op::Relu6)),
    rule("Reshape", &["T"], shapes::reshape),
    rule("ResizeBilinear", RESIZE, on_image),
    rule("ResizeNearestNeighbor", RESIZE, on_image),
    rule("Shape", &["out_type"], shapes::shape),
    rule("Sigmoid", &["T"], |call| unary(call, Op::Sigmoid)),
    rule("Softmax", &["T"], |call| unary(call, Op::Softmax)),
    rule("Squeeze", &["T", "squeeze_dims"], shapes::squeeze),
    rule("StopGradient", &["T"], identity),
    rule("StridedSlice", SLICE, |_| Err("only a slice of a constant is supported".into())),
    rule("Sub", &["T"], |call| arithmetic::sum(call, -1.0)),
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

/// An operation on the only input.
pub(super) fn unary<'a>(call: &mut Call<'a, '_>, op: Op) -> Result<Output<'a>, String> {
    call.arity(1)?;
    single(op, call.layer(0)?)
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

/// What TensorFlow wraps an operation in whose derivative it was told: Keras' swish. What else comes in are parts of that.
fn first_of_several<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    match call.inputs.first() {
        Some(Value::Constant(constant)) => Ok(Output::Value(Value::Constant(constant.clone()))),
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
