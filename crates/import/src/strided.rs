//! Copies a strided view of a flat buffer into row-major order. Transposing TensorFlow's weights and
//! reading PyTorch's views of storages are the same loop, and its bounds are checked in one place.

use std::sync::Arc;

use super::volume;
use reverie_graph::Array;

/// The values at `offset + Σ index · stride` of `source`, for every index within `shape`.
///
/// # Errors
/// What does not fit: a view that leaves `source`, or one with more values than `source` has. The latter
/// bounds the memory, as strides of 0 would repeat a value any number of times.
pub(super) fn gather(
    source: &[f32],
    shape: &[usize],
    strides: &[usize],
    offset: usize,
) -> Result<Array, String> {
    if shape.len() != strides.len() {
        return Err(format!("has the shape {shape:?} but the strides {strides:?}"));
    }
    let count = volume(shape)?;
    let outside = || {
        format!(
            "the shape {shape:?} with strides {strides:?} from {offset} does not fit {} values",
            source.len()
        )
    };
    if count > source.len() {
        return Err(outside());
    }
    let mut data = Vec::with_capacity(count);
    if count > 0 {
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(offset, |at, (&extent, &stride)| at.checked_add(stride.checked_mul(extent - 1)?));
        if last.is_none_or(|last| last >= source.len()) {
            return Err(outside());
        }
        copy(source, shape, strides, offset, &mut data);
    }
    Array::new(shape.to_vec(), Arc::from(data)).ok_or_else(outside)
}

/// Walks all indices like an odometer; the caller has checked that all of them lie within `source`.
fn copy(source: &[f32], shape: &[usize], strides: &[usize], offset: usize, data: &mut Vec<f32>) {
    let (&width, outer) = shape.split_last().unwrap_or((&1, &[]));
    let step = strides.last().copied().unwrap_or(1);
    let mut index = vec![0; outer.len()];
    let mut start = offset;
    loop {
        data.extend((0..width).map(|column| source[start + column * step]));
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            start += strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            start -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: [f32; 12] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0];

    #[test]
    fn views_are_copied_row_by_row() {
        let view = |shape: &[usize], strides: &[usize], offset| {
            gather(&SOURCE, shape, strides, offset).unwrap().data.to_vec()
        };
        assert_eq!(view(&[2, 3], &[3, 1], 0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(view(&[3, 2], &[1, 3], 0), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(view(&[2, 1, 2], &[4, 9, 2], 5), [5.0, 7.0, 9.0, 11.0]);
        assert_eq!(view(&[], &[], 7), [7.0]);
        assert_eq!(view(&[2, 2, 2], &[1, 2, 4], 1), [1.0, 5.0, 3.0, 7.0, 2.0, 6.0, 4.0, 8.0]);
        assert!(view(&[0, 5], &[1, 1], 99).is_empty());
    }

    #[test]
    fn nothing_outside_the_source_is_read() {
        for (shape, strides, offset) in [
            (vec![12], vec![1], 1),
            (vec![2, 2], vec![usize::MAX, 1], 0),
            (vec![1], vec![1], usize::MAX),
            (vec![2], vec![1], usize::MAX),
            (vec![13], vec![0], 0),
            (vec![usize::MAX, 2], vec![0, 0], 0),
            (vec![2], vec![1, 1], 0),
        ] {
            assert!(gather(&SOURCE, &shape, &strides, offset).is_err(), "{shape:?}");
        }
    }
}
