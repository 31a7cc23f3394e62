//! Constant folding: what is computed from constants only is computed at import. Graphs that were frozen without TensorFlow's
//! own optimiser have whole batch normalisations written out so, and shapes that are put together from other shapes.
//!
//! Floats are computed in 32 bits, as TensorFlow computes them. Integers are lists of a few values, of which some may depend
//! on the size of the image.

use super::{
    Budget,
    floats::{Floats, combine},
    tf_call::{Call, shown},
    tf_const::{Constant, Folded},
    volume,
};

/// A function of two numbers, for floats and for integers; none where the result does not fit.
type Binary = (fn(f32, f32) -> f32, fn(i64, i64) -> Option<i64>);

/// Integers that a folded list may hold.
const MAX_INTEGERS: usize = 16;

/// Computes a node of which all inputs are constants; none for an operation that is not folded.
pub(super) fn fold(call: &mut Call<'_, '_>) -> Option<Result<Folded, String>> {
    let constants = call.constants()?;
    let binary: Option<Binary> = match call.node.op.as_str() {
        "Add" | "AddV2" => Some((|a, b| a + b, i64::checked_add)),
        "Sub" => Some((|a, b| a - b, i64::checked_sub)),
        "Mul" => Some((|a, b| a * b, i64::checked_mul)),
        "RealDiv" | "Div" => Some((|a, b| a / b, i64::checked_div)),
        "Maximum" => Some((f32::max, |a, b| Some(a.max(b)))),
        "Minimum" => Some((f32::min, |a, b| Some(a.min(b)))),
        _ => None,
    };
    if let Some((floats, integers)) = binary {
        let &[a, b] = &constants[..] else { return Some(Err("needs two inputs".into())) };
        return Some(if a.is_integer() {
            integer_pairs(a, b, integers)
        } else {
            combine_constants(a, b, floats, call.budget)
        });
    }
    let unary: Option<fn(f32) -> f32> = match call.node.op.as_str() {
        "Rsqrt" => Some(|x| 1.0 / x.sqrt()),
        "Sqrt" => Some(f32::sqrt),
        "Square" => Some(|x| x * x),
        "Neg" => Some(|x| -x),
        "Inv" | "Reciprocal" => Some(f32::recip),
        _ => None,
    };
    let &first = constants.first()?;
    if let Some(function) = unary {
        return Some(first.floats(call.budget).map(|Floats { shape, mut data }| {
            data.iter_mut().for_each(|value| *value = function(*value));
            Folded::Floats(Floats { shape, data })
        }));
    }
    Some(match call.node.op.as_str() {
        "Shape" => first.shape().map(|shape| {
            let extents: Vec<_> = shape.iter().map(|&extent| i64::try_from(extent).ok()).collect();
            Folded::Integers(vec![extents.len()], extents)
        }),
        "StridedSlice" => slice(call),
        "Pack" => join(constants.iter().copied(), true),
        "ConcatV2" => match constants.split_last() {
            Some((_, lists)) if lists.iter().all(|list| list.is_integer()) => {
                join(lists.iter().copied(), false)
            }
            _ => return None,
        },
        "Reshape" | "Squeeze" | "ExpandDims" => reshape(call, first),
        _ => return None,
    })
}

/// The shape of a layer, as far as it is known without the image.
pub(super) fn shape_of_layer(is_map: bool, channels: usize) -> Folded {
    let channels = i64::try_from(channels).ok();
    let extents = if is_map { vec![None, None, None, channels] } else { vec![None, channels] };
    Folded::Integers(vec![extents.len()], extents)
}

fn integer_pairs(
    a: &Constant<'_>,
    b: &Constant<'_>,
    function: fn(i64, i64) -> Option<i64>,
) -> Result<Folded, String> {
    let (shape, other) = (a.shape()?, b.shape()?);
    let (a, b) = (a.integers()?, b.integers()?);
    let count = a.len().max(b.len());
    if a.len() != b.len() && a.len() != 1 && b.len() != 1 {
        return Err(format!("combines constants of {} and {} values", a.len(), b.len()));
    }
    let value = |values: &[Option<i64>], index: usize| values[if values.len() == 1 { 0 } else { index }];
    let pairs = (0..count).map(|index| function(value(&a, index)?, value(&b, index)?));
    Ok(Folded::Integers(if shape.len() >= other.len() { shape } else { other }, pairs.collect()))
}

fn combine_constants(
    a: &Constant<'_>,
    b: &Constant<'_>,
    function: fn(f32, f32) -> f32,
    budget: &mut Budget,
) -> Result<Folded, String> {
    let (a, b) = (a.floats(budget)?, b.floats(budget)?);
    combine(&a, &b, function, budget).map(Folded::Floats)
}

/// One element or a run of them from a list.
fn slice(call: &Call<'_, '_>) -> Result<Folded, String> {
    call.arity(4)?;
    let list = call.constant(0)?.integers()?;
    let one = |index: usize| -> Result<i64, String> {
        match call.integers(index)?[..] {
            [value] => Ok(value),
            ref other => Err(format!("input {index} is {}, needs one value", shown(other))),
        }
    };
    for mask in ["ellipsis_mask", "new_axis_mask"] {
        if call.count(mask, 0)? != 0 {
            return Err(format!("{mask} is not supported"));
        }
    }
    if one(3)? != 1 {
        return Err("only strides of 1 are supported".into());
    }
    let at = |index: i64| {
        let index = if index < 0 { index.saturating_add(list.len() as i64) } else { index };
        index.clamp(0, list.len() as i64) as usize
    };
    let begin = if call.count("begin_mask", 0)? == 0 { at(one(1)?) } else { 0 };
    if call.count("shrink_axis_mask", 0)? != 0 {
        let value = list.get(begin).ok_or("the index is beyond the list")?;
        return Ok(Folded::Integers(Vec::new(), vec![*value]));
    }
    let end = if call.count("end_mask", 0)? == 0 { at(one(2)?) } else { list.len() };
    let part = list.get(begin..end.max(begin)).unwrap_or_default().to_vec();
    Ok(Folded::Integers(vec![part.len()], part))
}

/// Joins integers to a list: single ones if they are packed, lists otherwise.
fn join<'c, 'a: 'c>(
    constants: impl Iterator<Item = &'c Constant<'a>>,
    packed: bool,
) -> Result<Folded, String> {
    let mut joined = Vec::new();
    for constant in constants {
        let expected = if packed { 0 } else { 1 };
        let rank = constant.shape()?.len();
        if rank != expected {
            return Err(format!("joins a constant of {rank} dimensions, only {expected} is supported"));
        }
        joined.extend(constant.integers()?);
        if joined.len() > MAX_INTEGERS {
            return Err(format!("the list has more than {MAX_INTEGERS} integers"));
        }
    }
    Ok(Folded::Integers(vec![joined.len()], joined))
}

/// The same values in another shape.
fn reshape(call: &mut Call<'_, '_>, constant: &Constant<'_>) -> Result<Folded, String> {
    if constant.is_integer() {
        let values = constant.integers()?;
        let single = call.node.op == "Squeeze" && values.len() == 1;
        let shape = if single { Vec::new() } else { vec![values.len()] };
        return Ok(Folded::Integers(shape, values));
    }
    let Floats { shape, data } = constant.floats(call.budget)?;
    let shape = match call.node.op.as_str() {
        "Reshape" => new_shape(&call.integers(1)?, data.len())?,
        "Squeeze" => shape.into_iter().filter(|&extent| extent != 1).collect(),
        _ => match (call.integers(1)?[..].first(), shape.len()) {
            (Some(&axis), rank) => {
                let axis = if axis < 0 { axis.saturating_add(rank as i64 + 1) } else { axis };
                let axis =
                    usize::try_from(axis).ok().filter(|&axis| axis <= rank).ok_or("the axis is outside")?;
                let mut shape = shape;
                shape.insert(axis, 1);
                shape
            }
            _ => return Err("the axis is missing".into()),
        },
    };
    Ok(Folded::Floats(Floats { shape, data }))
}

/// A shape for so many values, in which −1 stands for what is left.
pub(super) fn new_shape(wanted: &[i64], count: usize) -> Result<Vec<usize>, String> {
    let refused = || format!("{count} values do not fit the shape {}", shown(wanted));
    let known = wanted.iter().filter(|&&extent| extent != -1);
    let known =
        known.map(|&extent| usize::try_from(extent).map_err(|_| refused())).collect::<Result<Vec<_>, _>>()?;
    let product = volume(&known)?;
    let rest = match wanted.len() - known.len() {
        0 if product == count => 1,
        1 if product > 0 && count.is_multiple_of(product) => count / product,
        _ => return Err(refused()),
    };
    Ok(wanted.iter().map(|&extent| usize::try_from(extent).unwrap_or(rest)).collect())
}
