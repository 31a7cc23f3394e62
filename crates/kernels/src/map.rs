//! Views of maps: slices with a shape, of one of two kinds of values.
//!
//! A map is in channels-last memory: channels lie side by side, then columns, rows and images. An input may be some
//! channels of a larger map, with those of others in between; a result never is. The kind is a variant of the view and
//! not a type parameter, so that every entry point of the crate is one function, compiled here.

use super::{Bf16, KernelError, value::Value};

/// `[images, rows, columns, channels]`.
pub type Shape = [usize; 4];

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// [`KernelError::Unsupported`] for a map without values or with overlapping pixels, [`KernelError::Length`] unless
    /// `values` reach from the first value of the first pixel to the last of the last.
    pub fn new(values: Values<'a>, shape: Shape, pixel_stride: usize) -> Result<Self, KernelError> {
        let [images, rows, columns, channels] = shape;
        let pixels = images * rows * columns;
        if pixels * channels == 0 {
            return Err(KernelError::Unsupported("a map without values"));
        }
        if pixel_stride < channels {
            return Err(KernelError::Unsupported("pixels that overlap"));
        }
        let expected = (pixels - 1) * pixel_stride + channels;
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
    /// [`KernelError::Unsupported`] for a map without values, [`KernelError::Length`] unless there are as many values as
    /// `shape` says.
    pub fn new(values: ValuesMut<'a>, shape: Shape) -> Result<Self, KernelError> {
        let expected = shape.iter().product();
        if expected == 0 {
            return Err(KernelError::Unsupported("a map without values"));
        }
        check_length("map", values.len(), expected)?;
        Ok(Self { values, shape })
    }

    /// `[images, rows, columns, channels]`.
    pub fn shape(&self) -> Shape {
        self.shape
    }
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
