//! ONNX's operations on shapes: rows and maps of one position, channels in front or last, and the constants that shapes
//! are put together from.

use std::sync::Arc;

use super::{
    floats::Floats,
    onnx_call::{Call, Constant, Value, shown},
    onnx_ops::plain,
    onnx_parts as parts, volume,
};
use reverie_graph::{Op, Shape};

/// What is known of a layer's shape without the image.
pub(super) fn shape(call: &mut Call<'_, '_>) -> Result<Value, String> {
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

pub(super) fn reduce_mean(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let (input, nhwc) = call.either(0)?;
    let axes = axes(call)?.unwrap_or_default();
    if !are_spatial(&axes, nhwc) {
        return Err(format!("averages over axes {}, only rows and columns are supported", shown(&axes)));
    }
    let keeps = call.int("keepdims", 1)? != 0;
    let op = if keeps { Op::GlobalAvgPool } else { Op::SpatialMean };
    Ok(Value::Layer { id: call.layer(op, &[input])?, nhwc: nhwc && keeps })
}

/// `perm` puts channels last or in front; of constants it transposes a matrix.
pub(super) fn transpose(call: &mut Call<'_, '_>) -> Result<Value, String> {
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
    if let (Some(Some(Value::Grouped { id, groups, swapped, size })), [0, 2, 1, 3, 4]) =
        (call.inputs.first(), perm)
    {
        return Ok(Value::Grouped { id: *id, groups: *groups, swapped: !swapped, size: *size });
    }
    let (id, nhwc) = call.either(0)?;
    match (perm, nhwc) {
        ([0, 2, 3, 1], false) | ([0, 3, 1, 2], true) if call.builder.is_map(id) => {
            Ok(Value::Layer { id: call.layer(Op::Identity, &[id])?, nhwc: !nhwc })
        }
        _ => Err(format!("perm is {}, only channels last and channels in front are supported", shown(perm))),
    }
}

pub(super) fn squeeze(call: &mut Call<'_, '_>) -> Result<Value, String> {
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

pub(super) fn unsqueeze(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let axes = axes(call)?.unwrap_or_default();
    if let Some(Some(Value::Constant(constant))) = call.inputs.first() {
        let constant = constant.clone();
        return with_axes(call, &constant, &axes).map(Value::Constant);
    }
    if let Some(Some(Value::Plane(id))) = call.inputs.first() {
        let id = *id;
        return match axes[..] {
            [1 | -3] => Ok(plain(call.layer(Op::Identity, &[id])?)),
            _ => Err(format!(
                "adds the axes {} to one channel, only that of channels is supported",
                shown(&axes)
            )),
        };
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

pub(super) fn flatten(call: &mut Call<'_, '_>) -> Result<Value, String> {
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

pub(super) fn reshape(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(2, 2)?;
    if let Some(Some(Value::Constant(constant))) = call.inputs.first() {
        let constant = constant.clone();
        return constant_reshaped(call, &constant).map(Value::Constant);
    }
    let wanted = call.constant(1)?.integers()?;
    if let Some(Some(Value::Grouped { id, groups, swapped, size })) = call.inputs.first() {
        let (id, groups, swapped, size) = (*id, *groups, *swapped, *size);
        return parts::joined(call, id, swapped.then_some(groups), size, &wanted);
    }
    let (input, nhwc) = call.either(0)?;
    let (is_map, channels) = (call.builder.is_map(input), call.builder.channels(input));
    if is_map
        && !nhwc
        && let Some(grouped) = parts::grouped(input, channels, &wanted)
    {
        return Ok(grouped);
    }
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
    let shape = constant.shape()?;
    let kept = |axis: usize, extent: i64| match extent {
        0 => shape.get(axis).and_then(|&extent| i64::try_from(extent).ok()).unwrap_or(0),
        extent => extent,
    };
    let wanted: Vec<i64> = wanted.iter().enumerate().map(|(axis, &extent)| kept(axis, extent)).collect();
    let shape = super::tf_fold::new_shape(&wanted, volume(&shape)?)?;
    match constant {
        Constant::Repeated(_, value) => Ok(Constant::Repeated(shape, *value)),
        _ => Ok(Constant::Floats(Arc::new(Floats { shape, data: constant.floats(call.budget)?.data }))),
    }
}

pub(super) fn constant_of_shape(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let shape = call.integers(0)?;
    let extent = |&n: &i64| usize::try_from(n).map_err(|_| format!("the constant has a dimension of {n}"));
    let shape = shape.iter().map(extent).collect::<Result<Vec<_>, _>>()?;
    volume(&shape)?;
    let value = match call.tensor("value")? {
        Some(tensor) => match Constant::Raw(Arc::new(tensor.clone())).floats(call.budget)?.data[..] {
            [value] => value,
            _ => return Err("the value must be one float".into()),
        },
        None => 0.0,
    };
    Ok(Value::Constant(Constant::Repeated(shape, value)))
}
