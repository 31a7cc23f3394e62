//! Constants of floats: how they are decoded, and what is computed of two.

use super::{Budget, volume};
use reverie_graph::Array;

/// A decoded constant: shape and row-major values.
#[derive(Debug, PartialEq)]
pub(super) struct Floats {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f32>,
}

/// Little-endian values of 32 bits.
pub(super) fn of_f32(data: &[u8]) -> Vec<f32> {
    each(data, f32::from_le_bytes)
}

/// Little-endian values of 64 bits, rounded.
pub(super) fn of_f64(data: &[u8]) -> Vec<f32> {
    each(data, |bytes| f64::from_le_bytes(bytes) as f32)
}

/// Little-endian values in IEEE 754's binary16.
pub(super) fn of_f16(data: &[u8]) -> Vec<f32> {
    each(data, |bytes| half(u16::from_le_bytes(bytes)))
}

/// Little-endian values in bfloat16.
pub(super) fn of_bf16(data: &[u8]) -> Vec<f32> {
    each(data, |[low, high]| f32::from_le_bytes([0, 0, low, high]))
}

fn each<const N: usize>(data: &[u8], decode: fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks().0.iter().map(|bytes| decode(*bytes)).collect()
}

/// IEEE 754 binary16 to binary32, exactly.
pub(super) fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    sign * match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2f32.powi(-14),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        exponent => (1.0 + fraction) * 2f32.powi(exponent - 15),
    }
}

/// A weight of one dimension.
pub(super) fn list(data: Vec<f32>) -> Array {
    Array { shape: vec![data.len()], data: data.into() }
}

/// `function` of every pair, with NumPy's broadcasting, which TensorFlow and ONNX have too.
pub(super) fn combine(
    a: &Floats,
    b: &Floats,
    function: fn(f32, f32) -> f32,
    budget: &mut Budget,
) -> Result<Floats, String> {
    let rank = a.shape.len().max(b.shape.len());
    let extents = |shape: &[usize]| {
        let mut extents = vec![1; rank - shape.len()];
        extents.extend_from_slice(shape);
        extents
    };
    let (left, right) = (extents(&a.shape), extents(&b.shape));
    let shape = left.iter().zip(&right).map(|(&left, &right)| match (left, right) {
        _ if left == right || right == 1 => Ok(left),
        (1, _) => Ok(right),
        _ => Err(format!("combines constants of the shapes {:?} and {:?}", a.shape, b.shape)),
    });
    let shape = shape.collect::<Result<Vec<_>, _>>()?;
    let count = volume(&shape)?;
    budget.spend(count)?;
    let mut data = Vec::with_capacity(count);
    for index in 0..count {
        let (mut rest, mut at, mut step) = (index, [0, 0], [1, 1]);
        for axis in (0..rank).rev() {
            let position = rest % shape[axis];
            rest /= shape[axis];
            for (side, extent) in [left[axis], right[axis]].into_iter().enumerate() {
                at[side] += if extent == 1 { 0 } else { position * step[side] };
                step[side] *= extent;
            }
        }
        data.push(function(a.data[at[0]], b.data[at[1]]));
    }
    Ok(Floats { shape, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_of_one_are_repeated() {
        let constant = |shape: &[usize], data: &[f32]| Floats { shape: shape.to_vec(), data: data.to_vec() };
        let sum = |a: &Floats, b: &Floats| combine(a, b, |a, b| a + 10.0 * b, &mut Budget::of_values(100));
        let matrix = constant(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let row = sum(&matrix, &constant(&[3], &[1.0, 0.0, 2.0])).unwrap();
        assert_eq!(row, constant(&[2, 3], &[11.0, 2.0, 23.0, 14.0, 5.0, 26.0]));
        let column = sum(&constant(&[2, 1], &[1.0, 2.0]), &constant(&[1, 2], &[0.0, 1.0])).unwrap();
        assert_eq!(column, constant(&[2, 2], &[1.0, 11.0, 2.0, 12.0]));
        let one = sum(&constant(&[], &[1.0]), &constant(&[], &[2.0])).unwrap();
        assert_eq!(one, constant(&[], &[21.0]));
        assert_eq!(sum(&constant(&[0], &[]), &constant(&[1], &[2.0])).unwrap(), constant(&[0], &[]));
        assert!(sum(&matrix, &constant(&[2], &[0.0; 2])).is_err());
        let error = combine(&matrix, &matrix, |a, _| a, &mut Budget::of_values(5)).unwrap_err();
        assert!(error.contains("too many values"), "{error}");
    }
}
