//! TensorFlow's operations as a table: a line each, and a small function that reads the node's attributes
//! and inputs. Names, attributes and defaults are those of TensorFlow's op definitions
//! (`tensorflow/core/ops/{nn,array,math}_ops.cc`).

use super::{
    Budget, ImportError,
    graphdef::NodeDef,
    strided::gather,
    tf_call::{Call, Output, Value, shown},
};
use reverie_graph::{NodeId, Op, Window};

/// An operation that can be imported.
struct Rule {
    op: &'static str,
    /// Attributes that `build` reads.
    attributes: &'static [&'static str],
    build: for<'a> fn(&mut Call<'a, '_>) -> Result<Output<'a>, String>,
}

const fn rule(
    op: &'static str,
    attributes: &'static [&'static str],
    build: for<'a> fn(&mut Call<'a, '_>) -> Result<Output<'a>, String>,
) -> Rule {
    Rule { op, attributes, build }
}

const CONV: &[&str] = &["T", "strides", "padding", "explicit_paddings", "data_format", "dilations"];
const POOL: &[&str] = &["T", "ksize", "strides", "padding", "explicit_paddings", "data_format"];
const LRN: &[&str] = &["T", "depth_radius", "bias", "alpha", "beta"];

/// Every operation that can be imported, in alphabetical order.
const RULES: [Rule; 19] = [
    rule("Add", &["T"], add),
    rule("AddV2", &["T"], add),
    rule("AvgPool", POOL, |call| pool(call, |window| Op::AvgPool { window, count_padding: false })),
    rule("BiasAdd", &["T", "data_format"], bias_add),
    rule("Concat", &["T"], |call| concat(call, 0)),
    rule("ConcatV2", &["T"], |call| concat(call, call.inputs.len().saturating_sub(1))),
    rule("Const", &["dtype", "value"], constant),
    rule("Conv2D", CONV, conv2d),
    rule("DepthwiseConv2dNative", CONV, depthwise),
    rule("Identity", &["T"], identity),
    rule("LRN", LRN, lrn),
    rule("MatMul", &["T", "transpose_a", "transpose_b"], mat_mul),
    rule("MaxPool", POOL, |call| pool(call, Op::MaxPool)),
    rule("Mean", &["T", "keep_dims"], mean),
    rule("Placeholder", &["dtype", "shape"], placeholder),
    rule("Relu", &["T"], |call| unary(call, Op::Relu)),
    rule("Relu6", &["T"], |call| unary(call, Op::Relu6)),
    rule("Reshape", &["T"], reshape),
    rule("Softmax", &["T"], |call| unary(call, Op::Softmax)),
];

/// Attributes that cannot change the values of an operation in the table:
/// `N`, the number of inputs, repeats what the list of inputs says; `Tidx` and `Tshape` are the integer types
/// of axes and shapes, which constants carry themselves; the rest choose or annotate an implementation.
/// So do names that begin with an underscore, which TensorFlow reserves for that.
const HARMLESS: [&str; 6] = ["N", "Tidx", "Tshape", "grad_a", "grad_b", "use_cudnn_on_gpu"];

/// Colour channels of the image.
const CHANNELS: usize = 3;

/// Translates one node whose `inputs` have been translated.
///
/// # Errors
/// Names the node: an unknown operation or attribute, or whatever its function refuses.
pub(super) fn translate<'a>(
    node: &'a NodeDef,
    inputs: &[Value<'a>],
    budget: &mut Budget,
) -> Result<Output<'a>, ImportError> {
    let (name, op) = (&node.name, &node.op);
    let rule = RULES.iter().find(|rule| rule.op == op);
    let rule = rule.ok_or_else(|| ImportError::UnknownOp { node: name.clone(), op: op.clone() })?;
    for attribute in node.attr.keys() {
        let known = attribute.starts_with('_')
            || HARMLESS.contains(&attribute.as_str())
            || rule.attributes.contains(&attribute.as_str());
        if !known {
            return Err(ImportError::UnknownAttribute {
                node: name.clone(),
                op: op.clone(),
                attribute: attribute.clone(),
            });
        }
    }
    let mut call = Call { node, inputs, budget };
    let typed = if rule.attributes.contains(&"T") { call.is_float("T") } else { Ok(()) };
    typed.and_then(|()| (rule.build)(&mut call)).map_err(|problem| ImportError::Node {
        node: name.clone(),
        op: op.clone(),
        problem,
    })
}

/// A layer with one input.
fn single<'a>(op: Op, input: NodeId) -> Result<Output<'a>, String> {
    Ok(Output::Layer(op, vec![input]))
}

fn unary<'a>(call: &mut Call<'a, '_>, op: Op) -> Result<Output<'a>, String> {
    call.arity(1)?;
    single(op, call.layer(0)?)
}

fn add<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    Ok(Output::Layer(Op::Add, vec![call.layer(0)?, call.layer(1)?]))
}

fn bias_add<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    call.is_nhwc()?;
    let ([channels], data) = call.weight(1)?;
    single(Op::BiasAdd { bias: gather(&data, &[channels], &[1], 0)? }, call.layer(0)?)
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
    Ok(Output::Constant(call.tensor("value")?))
}

/// The kernel is `[height, width, in, out]` in TensorFlow.
fn conv2d<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    let input = call.layer(0)?;
    let ([height, width, inner, outer], data) = call.weight(1)?;
    let shape = [outer, inner, height, width];
    let strides = [1, outer, width * inner * outer, inner * outer];
    convolution(call, input, &data, (shape, strides), 1)
}

/// The kernel is `[height, width, channels, multiplier]`; results are ordered by channel, then multiplier.
fn depthwise<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
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
    let op = Op::Conv2d {
        weight: gather(data, &shape, &strides, 0)?,
        bias: None,
        stride: call.spatial("strides")?,
        dilation: call.spatial_or_absent("dilations")?.unwrap_or([1, 1]),
        padding: call.padding()?,
        groups,
    };
    single(op, input)
}

fn identity<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(1)?;
    match call.inputs {
        // Frozen variables are read through an Identity.
        [Value::Constant(tensor)] => Ok(Output::Constant(tensor)),
        _ => single(Op::Identity, call.layer(0)?),
    }
}

fn lrn<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(1)?;
    let op = Op::Lrn {
        radius: call.count("depth_radius", 5)?,
        bias: call.float("bias", 1.0)?,
        alpha: call.float("alpha", 1.0)?,
        beta: call.float("beta", 0.5)?,
    };
    single(op, call.layer(0)?)
}

fn mat_mul<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    if call.flag("transpose_a", false)? {
        return Err("transpose_a is not supported".into());
    }
    let input = call.layer(0)?;
    let ([rows, columns], data) = call.weight(1)?;
    let weight = if call.flag("transpose_b", false)? {
        gather(&data, &[columns, rows], &[1, columns], 0)?
    } else {
        gather(&data, &[rows, columns], &[columns, 1], 0)?
    };
    single(Op::MatMul { weight }, input)
}

fn mean<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    if call.flag("keep_dims", false)? {
        return Err("keep_dims is not supported".into());
    }
    let axes = call.integers(1)?;
    let mut positive: Vec<i64> =
        axes.iter().map(|&axis| if axis < 0 { axis.saturating_add(4) } else { axis }).collect();
    positive.sort_unstable();
    match positive[..] {
        [1, 2] => single(Op::SpatialMean, call.layer(0)?),
        _ => Err(format!("averages over axes {}, only [1, 2] are supported", shown(&axes))),
    }
}

fn pool<'a>(call: &mut Call<'a, '_>, op: fn(Window) -> Op) -> Result<Output<'a>, String> {
    call.arity(1)?;
    call.is_nhwc()?;
    let window =
        Window { kernel: call.spatial("ksize")?, stride: call.spatial("strides")?, padding: call.padding()? };
    single(op(window), call.layer(0)?)
}

/// Heights and widths in the shape are of no interest: a convolutional network takes any, and where it
/// does not, its Reshape says so. A shape of no dimensions is how old graphs say "unknown".
fn placeholder<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(0)?;
    call.is_float("dtype")?;
    if let Some(shape) = call.shape("shape")?.filter(|shape| !shape.unknown_rank) {
        let sizes: Vec<i64> = shape.dim.iter().map(|dim| dim.size).collect();
        if !matches!(sizes[..], [] | [_, _, _, -1 | 3]) {
            return Err(format!("has the shape {}, needs [batch, height, width, 3]", shown(&sizes)));
        }
    }
    Ok(Output::Layer(Op::Input { channels: CHANNELS }, Vec::new()))
}

fn reshape<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    call.arity(2)?;
    let shape = call.integers(1)?;
    match shape[..] {
        [-1, features @ 1..=i64::MAX] => {
            let features = usize::try_from(features).map_err(|error| error.to_string())?;
            single(Op::Flatten { features, channels_first: false }, call.layer(0)?)
        }
        _ => Err(format!("the new shape is {}, only [-1, n] is supported", shown(&shape))),
    }
}
