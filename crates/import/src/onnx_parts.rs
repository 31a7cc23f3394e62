//! ONNX's operations that take channels apart: slices of a map, single channels, and groups that are shuffled.
//!
//! Between such operations the file has values of three or five dimensions, which are no layers here.

use super::{
    onnx_call::{Call, Constant, Value, shown},
    onnx_ops::plain,
};
use reverie_graph::{NodeId, Op};

/// Elements of a list of integers, or a channel of a map.
pub(super) fn gather(call: &mut Call<'_, '_>) -> Result<Value, String> {
    call.arity(2, 2)?;
    let Ok((map, nhwc)) = call.either(0) else { return gather_integers(call) };
    let axis = call.int("axis", 0)?;
    if !is_of_channels(axis, nhwc) || !call.builder.is_map(map) {
        return Err(format!(
            "along axis {axis} of a layer is not supported, only along the channels of a map"
        ));
    }
    let (indices, alone) = (call.integers(1)?, call.constant(1)?.shape()?.is_empty());
    let &[index] = &indices[..] else {
        return Err(format!("takes {} channels, only one at a time is supported", indices.len()));
    };
    let channels = call.builder.channels(map);
    if index.unsigned_abs() > channels as u64 {
        return Err(format!("takes channel {index} of {channels}"));
    }
    let op = Op::SliceChannels { start: place(index, channels), channels: 1 };
    let id = call.layer(op, &[map])?;
    match (alone, nhwc) {
        (true, true) => Err("of one channel from channels that come last is not supported".into()),
        (true, false) => Ok(Value::Plane(id)),
        (false, _) => Ok(Value::Layer { id, nhwc }),
    }
}

/// Elements of a list of integers.
fn gather_integers(call: &mut Call<'_, '_>) -> Result<Value, String> {
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

/// Neighbouring channels of a map. Bounds are attributes before version 10, inputs since.
pub(super) fn slice(call: &mut Call<'_, '_>) -> Result<Value, String> {
    let list = |call: &Call<'_, '_>, index: usize, name: &str| match call.optional(index)? {
        Some(_) => call.integers(index).map(Some),
        None => Ok(call.ints(name)?.map(<[i64]>::to_vec)),
    };
    let (input, nhwc) = call.either(0)?;
    let starts = list(call, 1, "starts")?.unwrap_or_default();
    let ends = list(call, 2, "ends")?.unwrap_or_default();
    let axes = list(call, 3, "axes")?.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = list(call, 4, "steps")?.unwrap_or_else(|| vec![1]);
    let (&[start], &[end], &[axis], &[1]) = (&starts[..], &ends[..], &axes[..], &steps[..]) else {
        return Err(format!(
            "cuts along the axes {} in steps of {}, only one axis in steps of 1 is supported",
            shown(&axes),
            shown(&steps)
        ));
    };
    if !is_of_channels(axis, nhwc) || !call.builder.is_map(input) {
        return Err(format!("cuts along axis {axis}, only along the channels of a map is supported"));
    }
    let all = call.builder.channels(input);
    let (start, end) = (place(start, all).min(all), place(end, all).min(all));
    let op = Op::SliceChannels { start, channels: end.saturating_sub(start) };
    Ok(Value::Layer { id: call.layer(op, &[input])?, nhwc })
}

fn is_of_channels(axis: i64, nhwc: bool) -> bool {
    if nhwc { matches!(axis, 3 | -1) } else { matches!(axis, 1 | -3) }
}

/// A place that may be counted from the end. One before the first becomes the first, as slices have it.
fn place(index: i64, all: usize) -> usize {
    let all = i64::try_from(all).unwrap_or(i64::MAX);
    let index = if index < 0 { index.saturating_add(all) } else { index };
    usize::try_from(index).unwrap_or(0)
}

/// A map's channels in groups: a new shape of five dimensions, `[images, groups, channels of each, rows, columns]`.
pub(super) fn grouped(id: NodeId, channels: usize, wanted: &[Option<i64>]) -> Option<Value> {
    let &[_, groups, each, rows, columns] = wanted else { return None };
    let count = |extent: Option<i64>| usize::try_from(extent?).ok().filter(|&count| count > 0);
    let groups = match (groups, count(groups), count(each)) {
        (_, Some(groups), Some(each)) if groups.checked_mul(each) == Some(channels) => groups,
        (_, Some(groups), None) if each == Some(-1) && channels.is_multiple_of(groups) => groups,
        (Some(-1), None, Some(each)) if channels.is_multiple_of(each) => channels / each,
        _ => return None,
    };
    Some(Value::Grouped { id, groups, swapped: false, size: [rows, columns] })
}

/// The map again, whose channels were in groups; mixed where the groups were swapped with their channels.
pub(super) fn joined(
    call: &mut Call<'_, '_>,
    id: NodeId,
    swapped_groups: Option<usize>,
    size: [Option<i64>; 2],
    wanted: &[Option<i64>],
) -> Result<Value, String> {
    let channels = i64::try_from(call.builder.channels(id)).unwrap_or(0);
    match wanted {
        [_, extent, rows, columns]
            if [*rows, *columns] == size && (*extent == Some(-1) || *extent == Some(channels)) =>
        {
            let op = swapped_groups.map_or(Op::Identity, |groups| Op::ChannelShuffle { groups });
            Ok(plain(call.layer(op, &[id])?))
        }
        _ => {
            let wanted: Vec<i64> = wanted.iter().map(|extent| extent.unwrap_or(0)).collect();
            Err(format!(
                "the new shape of a map in groups is {}, needs {channels} channels and its rows and columns",
                shown(&wanted)
            ))
        }
    }
}
