//! Values of TensorFlow's constants. A shape costs a few bytes and can claim any size, so it is compared
//! with the values that are there before anything is allocated.

use std::rc::Rc;

use super::{
    Budget,
    floats::Floats,
    graphdef::{DT_BOOL, DT_FLOAT, DT_INT32, DT_INT64, TensorProto, type_name},
    volume,
};

/// Constants up to this many values may be written as a single repeated value (16 MiB).
const MAX_REPEATED: usize = 1 << 22;

/// Integers that a constant may hold: axes and shapes are short.
const MAX_INTEGERS: usize = 16;

/// A constant: as the file has it, or computed from others.
#[derive(Clone)]
pub(super) enum Constant<'a> {
    /// Not decoded yet.
    Raw(&'a TensorProto),
    /// Computed.
    Folded(Rc<Folded>),
}

/// A computed constant.
pub(super) enum Folded {
    Floats(Floats),
    /// Integers and their shape, a list or a single one; none for one that depends on the size of the image, as the
    /// shape of a layer does.
    Integers(Vec<usize>, Vec<Option<i64>>),
    Flag(bool),
}

impl Constant<'_> {
    /// The values of a constant of floats.
    pub(super) fn floats(&self, budget: &mut Budget) -> Result<Floats, String> {
        match self {
            Self::Raw(tensor) => floats(tensor, budget),
            Self::Folded(folded) => match &**folded {
                Folded::Floats(Floats { shape, data }) => {
                    budget.spend(data.len())?;
                    Ok(Floats { shape: shape.clone(), data: data.clone() })
                }
                other => Err(format!("the constant is {}, needs floats", other.kind())),
            },
        }
    }

    /// The values of a short constant of integers.
    pub(super) fn integers(&self) -> Result<Vec<Option<i64>>, String> {
        match self {
            Self::Raw(tensor) => Ok(integers(tensor)?.into_iter().map(Some).collect()),
            Self::Folded(folded) => match &**folded {
                Folded::Integers(_, values) => Ok(values.clone()),
                other => Err(format!("the constant is {}, needs integers", other.kind())),
            },
        }
    }

    /// A single boolean.
    pub(super) fn flag(&self) -> Result<bool, String> {
        match self {
            Self::Raw(tensor) if tensor.dtype == DT_BOOL => {
                let content = tensor.tensor_content.first().map(|&byte| byte != 0);
                Ok(content.or(tensor.bool_val.first().copied()).unwrap_or(false))
            }
            Self::Raw(tensor) => Err(format!("the constant is {}, needs DT_BOOL", type_name(tensor.dtype))),
            Self::Folded(folded) => match **folded {
                Folded::Flag(flag) => Ok(flag),
                ref other => Err(format!("the constant is {}, needs a boolean", other.kind())),
            },
        }
    }

    pub(super) fn is_integer(&self) -> bool {
        match self {
            Self::Raw(tensor) => matches!(tensor.dtype, DT_INT32 | DT_INT64),
            Self::Folded(folded) => matches!(**folded, Folded::Integers(..)),
        }
    }

    /// Extents of the constant.
    pub(super) fn shape(&self) -> Result<Vec<usize>, String> {
        match self {
            Self::Raw(tensor) => shape(tensor),
            Self::Folded(folded) => Ok(match &**folded {
                Folded::Floats(floats) => floats.shape.clone(),
                Folded::Integers(shape, _) => shape.clone(),
                Folded::Flag(_) => Vec::new(),
            }),
        }
    }
}

impl Folded {
    fn kind(&self) -> &'static str {
        match self {
            Self::Floats(_) => "floats",
            Self::Integers(..) => "integers",
            Self::Flag(_) => "a boolean",
        }
    }
}

/// Decodes a `DT_FLOAT` constant.
fn floats(tensor: &TensorProto, budget: &mut Budget) -> Result<Floats, String> {
    if tensor.dtype != DT_FLOAT {
        return Err(format!("the constant is {}, needs DT_FLOAT", type_name(tensor.dtype)));
    }
    let shape = shape(tensor)?;
    let count = volume(&shape)?;
    let content = &tensor.tensor_content;
    let data = if content.is_empty() {
        filled(&shape, &tensor.float_val, MAX_REPEATED, |count| budget.spend(count))?
    } else {
        if count.checked_mul(4) != Some(content.len()) {
            return Err(wrong_length(&shape, content.len() / 4));
        }
        budget.spend(count)?;
        content.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    Ok(Floats { shape, data })
}

/// Decodes a short integer constant: an axis or a shape.
fn integers(tensor: &TensorProto) -> Result<Vec<i64>, String> {
    let shape = shape(tensor)?;
    let count = volume(&shape)?;
    let content = &tensor.tensor_content;
    let values: Vec<i64> = match tensor.dtype {
        _ if count > MAX_INTEGERS || content.len() > MAX_INTEGERS * 8 => {
            return Err(format!("the constant has the shape {shape:?}, too many integers"));
        }
        DT_INT32 if content.is_empty() => tensor.int_val.iter().map(|&value| value.into()).collect(),
        DT_INT64 if content.is_empty() => tensor.int64_val.clone(),
        DT_INT32 if content.len().is_multiple_of(4) => {
            content.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect()
        }
        DT_INT64 if content.len().is_multiple_of(8) => {
            content.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
        }
        DT_INT32 | DT_INT64 => return Err("the constant ends in the middle of an integer".into()),
        other => {
            return Err(format!("the constant is {}, needs DT_INT32 or DT_INT64", type_name(other)));
        }
    };
    match content.is_empty() {
        true => filled(&shape, &values, MAX_INTEGERS, |_| Ok(())),
        false if values.len() == count => Ok(values),
        false => Err(wrong_length(&shape, values.len())),
    }
}

/// The values of a list that stands for a constant: TensorFlow leaves out what follows the last that differs from the one before, and zeros
/// where there are no others. At most `most` values are made of one.
fn filled<T: Copy + Default>(
    shape: &[usize],
    list: &[T],
    most: usize,
    spend: impl FnOnce(usize) -> Result<(), String>,
) -> Result<Vec<T>, String> {
    let count = volume(shape)?;
    if list.len() > count || (list.len() < count && count > most) {
        return Err(wrong_length(shape, list.len()));
    }
    spend(count)?;
    let mut values = list.to_vec();
    values.resize(count, list.last().copied().unwrap_or_default());
    Ok(values)
}

fn shape(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    let Some(shape) = &tensor.tensor_shape else {
        return Ok(Vec::new());
    };
    if shape.unknown_rank {
        return Err("the constant has no shape".into());
    }
    let extent =
        |size: i64| usize::try_from(size).map_err(|_| format!("the constant has a dimension of {size}"));
    shape.dim.iter().map(|dim| extent(dim.size)).collect()
}

fn wrong_length(shape: &[usize], found: usize) -> String {
    format!("the constant's shape is {shape:?}, but the file holds {found} value(s) for it")
}

#[cfg(test)]
mod tests {
    use super::{
        super::graphdef::{Dim, TensorShapeProto},
        *,
    };

    fn tensor(dtype: i32, dims: &[i64]) -> TensorProto {
        let dim = dims.iter().map(|&size| Dim { size }).collect();
        let tensor_shape = Some(TensorShapeProto { dim, unknown_rank: false });
        TensorProto { dtype, tensor_shape, ..Default::default() }
    }

    #[test]
    fn a_single_value_stands_for_all() {
        let constant = TensorProto { float_val: vec![2.5], ..tensor(DT_FLOAT, &[2, 3]) };
        let floats = floats(&constant, &mut Budget::of_file(0)).unwrap();
        assert_eq!((floats.shape, floats.data), (vec![2, 3], vec![2.5; 6]));
        let constant = TensorProto { int_val: vec![7], ..tensor(DT_INT32, &[2]) };
        assert_eq!(integers(&constant).unwrap(), [7, 7]);
    }

    /// As TensorFlow shortens constants when it freezes a graph.
    #[test]
    fn the_last_value_stands_for_those_left_out_and_none_for_zeros() {
        let of = |float_val: &[f32], dims: &[i64]| {
            let constant = TensorProto { float_val: float_val.to_vec(), ..tensor(DT_FLOAT, dims) };
            floats(&constant, &mut Budget::of_file(0)).unwrap().data
        };
        assert_eq!(of(&[1.0, 2.0], &[2, 2]), [1.0, 2.0, 2.0, 2.0]);
        assert_eq!(of(&[], &[]), [0.0]);
        assert_eq!(of(&[], &[3]), [0.0; 3]);
        let list = TensorProto { int_val: vec![1, 5], ..tensor(DT_INT32, &[4]) };
        assert_eq!(integers(&list).unwrap(), [1, 5, 5, 5]);
        assert_eq!(integers(&tensor(DT_INT32, &[2])).unwrap(), [0, 0]);
        let cut = TensorProto { tensor_content: vec![0; 4].into(), ..tensor(DT_INT32, &[2]) };
        assert!(integers(&cut).is_err());
    }

    #[test]
    fn both_forms_and_widths_of_integers_are_read() {
        let content = TensorProto {
            tensor_content: (-1i32).to_le_bytes().into_iter().chain(9i32.to_le_bytes()).collect(),
            ..tensor(DT_INT32, &[2])
        };
        assert_eq!(integers(&content).unwrap(), [-1, 9]);
        let list = TensorProto { int64_val: vec![-1, 9], ..tensor(DT_INT64, &[2]) };
        assert_eq!(integers(&list).unwrap(), [-1, 9]);
    }

    #[test]
    fn shapes_that_the_values_do_not_fill_are_refused() {
        let one_value = |dims: &[i64]| TensorProto { float_val: vec![1.0], ..tensor(DT_FLOAT, dims) };
        let content =
            |dims: &[i64]| TensorProto { tensor_content: vec![0; 8].into(), ..tensor(DT_FLOAT, dims) };
        for (constant, expected) in [
            (one_value(&[1 << 40]), "holds 1 value(s)"),
            (TensorProto { float_val: vec![1.0; 3], ..tensor(DT_FLOAT, &[2]) }, "holds 3 value(s)"),
            (one_value(&[i64::MAX, i64::MAX]), "absurd"),
            (one_value(&[-1]), "a dimension of -1"),
            (content(&[3]), "holds 2 value(s)"),
            (content(&[i64::MAX]), "holds 2 value(s)"),
            (tensor(DT_FLOAT, &[1 << 23]), "holds 0 value(s)"),
            (tensor(2, &[0]), "DT_DOUBLE, needs DT_FLOAT"),
        ] {
            let problem = floats(&constant, &mut Budget::of_file(0)).err().unwrap();
            assert!(problem.contains(expected), "{problem}");
        }
        let many = TensorProto { int_val: vec![1], ..tensor(DT_INT32, &[1 << 50]) };
        assert!(integers(&many).unwrap_err().contains("too many integers"));
        assert!(floats(&one_value(&[9]), &mut Budget::of_values(8)).is_err());
    }
}
