//! TensorFlow's operations that join maps, average them, and give their values another shape.

use std::rc::Rc;

use super::{
    tf_call::{Call, Output, Value, shown},
    tf_const::Constant,
    tf_fold,
    tf_ops::single,
};
use reverie_graph::{NodeId, Op};

/// `axis` is the index of the input that holds the axis: the first of Concat, the last of ConcatV2.
pub(super) fn concat<'a>(call: &mut Call<'a, '_>, axis: usize) -> Result<Output<'a>, String> {
    let joined = (0..call.inputs.len()).filter(|&index| index != axis);
    let joined = joined.map(|index| call.layer(index)).collect::<Result<Vec<_>, _>>()?;
    match call.integers(axis)?[..] {
        [3 | -1] if !joined.is_empty() => Ok(Output::Layer(Op::Concat, joined)),
        [3 | -1] => Err("has nothing to join".into()),
        ref other => Err(format!("joins along axis {}, only channels (3) are supported", shown(other))),
    }
}

pub(super) fn mean<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
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

pub(super) fn shape<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
    let layer = call.layer(0)?;
    let shape = tf_fold::shape_of_layer(call.builder.is_map(layer), call.builder.channels(layer));
    Ok(Output::Value(Value::Constant(Constant::Folded(Rc::new(shape)))))
}

fn flatten<'a>(features: usize, layer: NodeId) -> Result<Output<'a>, String> {
    single(Op::Flatten { features, channels_first: false }, layer)
}

/// Of a map of one position the channels are the row. Of a larger one, as an image of another size than the network was
/// trained on has it, each position gives a row.
pub(super) fn squeeze<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
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

pub(super) fn reshape<'a>(call: &mut Call<'a, '_>) -> Result<Output<'a>, String> {
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
