//! Views of maps: slices with a shape, of one of two kinds of values.
//!
//! A map is in channels-last memory: channels lie side by side, then columns, rows and images. An input may be some
//! channels of a larger map, with those of others in between; a result never is. The kind is a variant of the view and
//! not a type parameter, so that every entry point of the crate is one function, compiled here.

use super::{Bf16, KernelError, value::Value};

/// `[images, rows, columns, channels]`.
pub type Shape = [usize; 4];

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// float32.
    F32,
    /// bfloat16.
    Bf16,
}

/// Values to read.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// float32.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [Bf16]),
}

/// Values to write.
#[derive(Debug)]
pub enum ValuesMut<'a> {
    /// float32.
    F32(&'a mut [f32]),
    /// bfloat16.
    Bf16(&'a mut [Bf16]),
}

impl Values<'_> {
    fn kind(&self) -> ValueKind {
        match self {
            Self::F32(_) => ValueKind::F32,
            Self::Bf16(_) => ValueKind::Bf16,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }
}

impl ValuesMut<'_> {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }
}

/// A map to read.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    values: Values<'a>,
    shape: Shape,
    pixel_stride: usize,
}

impl<'a> Map<'a> {
    /// A view of `values`, with `pixel_stride` values from the first channel of a pixel to that of the next.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] for a map without values, with overlapping pixels or larger than any memory,
    /// [`KernelError::Length`] unless `values` reach from the first value of the first pixel to the last of the last.
    pub fn new(values: Values<'a>, shape: Shape, pixel_stride: usize) -> Result<Self, KernelError> {
        count(shape)?;
        let [images, rows, columns, channels] = shape;
        if pixel_stride < channels {
            return Err(KernelError::Unsupported("pixels that overlap"));
        }
        let gaps = (images * rows * columns - 1).checked_mul(pixel_stride);
        let expected = gaps.and_then(|before| before.checked_add(channels)).ok_or(TOO_LARGE)?;
        check_length("map", values.len(), expected)?;
        Ok(Self { values, shape, pixel_stride })
    }

    /// A view of `values` without gaps.
    ///
    /// # Errors
    /// As [`Map::new`].
    pub fn dense(values: Values<'a>, shape: Shape) -> Result<Self, KernelError> {
        Self::new(values, shape, shape[3])
    }

    /// `[images, rows, columns, channels]`.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What it holds.
    pub fn kind(&self) -> ValueKind {
        self.values.kind()
    }

    /// Values from the first channel of a pixel to that of the next.
    pub fn pixel_stride(&self) -> usize {
        self.pixel_stride
    }

    /// Whether there is nothing between its pixels.
    pub fn is_dense(&self) -> bool {
        self.pixel_stride == self.shape[3]
    }

    /// Its values, if they are of this type.
    pub(crate) fn of<V: Value>(&self) -> Result<&'a [V], KernelError> {
        V::from_values(self.values).ok_or(KernelError::Kind { found: self.kind(), expected: V::KIND })
    }

    /// As [`Map::of`], for a map of this shape without gaps.
    pub(crate) fn dense_of<V: Value>(
        &self,
        what: &'static str,
        shape: Shape,
    ) -> Result<&'a [V], KernelError> {
        check_shape(what, self.shape, shape)?;
        if !self.is_dense() {
            return Err(KernelError::Unsupported("gaps between the pixels of a map that must be dense"));
        }
        self.of()
    }
}

/// A map to write, without gaps.
#[derive(Debug)]
pub struct MapMut<'a> {
    pub(crate) values: ValuesMut<'a>,
    shape: Shape,
}

impl<'a> MapMut<'a> {
    /// A view of `values`.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] for a map without values or larger than any memory, [`KernelError::Length`] unless there
    /// are as many values as `shape` says.
    pub fn new(values: ValuesMut<'a>, shape: Shape) -> Result<Self, KernelError> {
        check_length("map", values.len(), count(shape)?)?;
        Ok(Self { values, shape })
    }

    /// `[images, rows, columns, channels]`.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

const TOO_LARGE: KernelError = KernelError::Unsupported("a map larger than any memory");

/// The number of values of a map without gaps, at least 1.
fn count(shape: Shape) -> Result<usize, KernelError> {
    if shape.contains(&0) {
        return Err(KernelError::Unsupported("a map without values"));
    }
    shape.into_iter().try_fold(1, usize::checked_mul).ok_or(TOO_LARGE)
}

/// Whether a shape is the expected one.
pub(crate) fn check_shape(what: &'static str, found: Shape, expected: Shape) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Shape { what, found, expected }) }
}

/// Whether a slice has the expected length.
pub(crate) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(KernelError::Length { what, found, expected }) }
}

/// Runs a generic function for the kind of a map to write.
macro_rules! for_kind {
    ($values:expr, $typed:ident => $run:expr) => {
        match $values {
            $crate::map::ValuesMut::F32($typed) => $run,
            $crate::map::ValuesMut::Bf16($typed) => $run,
        }
    };
}
pub(crate) use for_kind;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_has_as_many_values_as_its_shape_says() {
        let huge = usize::MAX / 2 + 1;
        let mut few = [0.0; 24];
        for shape in [[0, 2, 3, 4], [1, 2, 3, 0], [huge, 2, 1, 1], [1, 1, 2, huge], [huge, huge, huge, huge]]
        {
            let refused = |error: Option<KernelError>| matches!(error, Some(KernelError::Unsupported(_)));
            assert!(refused(Map::dense(Values::F32(&few), shape).err()), "{shape:?}");
            assert!(refused(Map::new(Values::F32(&few), shape, usize::MAX).err()), "{shape:?}");
            assert!(refused(MapMut::new(ValuesMut::F32(&mut few), shape).err()), "{shape:?}");
        }
        assert!(matches!(Map::new(Values::F32(&few), [1, 1, 3, 4], huge), Err(KernelError::Unsupported(_))));
        for (shape, stride) in [([1, 2, 3, 4], 4), ([1, 1, 3, 4], 10), ([2, 1, 1, 4], 20)] {
            assert!(Map::new(Values::F32(&few), shape, stride).is_ok(), "{shape:?}");
            let short = Map::new(Values::F32(&few[1..]), shape, stride);
            assert!(matches!(short, Err(KernelError::Length { .. })), "{shape:?}");
        }
        assert!(MapMut::new(ValuesMut::F32(&mut few), [1, 2, 3, 4]).is_ok());
        assert!(MapMut::new(ValuesMut::F32(&mut few[1..]), [1, 2, 3, 4]).is_err());
    }
}
