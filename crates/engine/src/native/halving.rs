//! Blurring an image to half its size and enlarging it again, as the Laplacian pyramid does: the binomial kernel
//! `[1, 4, 6, 4, 1]` along each axis, with the borders of a TensorFlow `SAME` convolution.
//!
//! The kernel is a product of two, so each output row is a weighted sum of a few rows, which is then weighted along
//! itself: 10 multiplications a pixel instead of 25, and what a row needs stays in the nearest cache. What the pyramid
//! does with the result (take it away, add it, measure what is left) happens in the same pass.

use tch::{Device, Kind, Tensor};

use reverie_graph::Padding;

use super::{super::RenderError, Team, values, values_mut, vectorised};

/// The kernel along an axis; the sum is 16.
pub(in super::super) const TAPS: [f32; 5] = [1.0, 4.0, 6.0, 4.0, 1.0];

/// An image and its half, as planes one after the other.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Halving {
    planes: usize,
    /// Rows and columns of the image.
    size: [usize; 2],
    /// Rows and columns of the half: rounded up.
    half: [usize; 2],
    /// Rows and columns that the first window reaches over the edge.
    before: [usize; 2],
}

impl Halving {
    /// Of `image`, `[1, C, H, W]`; none where the loops cannot run over it.
    pub(in super::super) fn of(image: &Tensor) -> Option<Self> {
        let (Ok((1, planes, height, width)), Device::Cpu, Ok(Kind::Float), true) =
            (image.size4(), image.device(), image.f_kind(), image.is_contiguous())
        else {
            return None;
        };
        let size = [height, width].map(|n| n as usize);
        let [down, across] = size.map(|n| Padding::Same.resolve(n, TAPS.len(), 2));
        let ((rows, top, _), (columns, left, _)) = (down?, across?);
        Some(Self { planes: planes as usize, size, half: [rows, columns], before: [top, left] })
    }

    /// The blurred half of `image`, `[1, C, ⌈H / 2⌉, ⌈W / 2⌉]`.
    pub(in super::super) fn blur(&self, team: &Team, image: &Tensor) -> Result<Tensor, RenderError> {
        let [rows, columns] = self.half;
        let shape = [1, self.planes as i64, rows as i64, columns as i64];
        let mut half = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
        let from = values::<f32>(image);
        team.over(values_mut(&mut half), columns, |first, lines| blur(self, from, first, lines));
        Ok(half)
    }

    /// Takes the enlarged `half` away from `image`; the sum of the squares of what is left.
    pub(in super::super) fn subtract(&self, team: &Team, image: &mut Tensor, half: &Tensor) -> f64 {
        let bytes = size_of::<f32>() * image.numel();
        let from = values::<f32>(half);
        // A sum for each row, so that the total does not depend on the number of threads.
        let mut squares = vec![0.0; self.planes * self.size[0]];
        let lines = values_mut::<f32>(image).chunks_mut(self.size[1]);
        let mut lines: Vec<(&mut [f32], &mut f64)> = lines.zip(&mut squares).collect();
        team.share(bytes, &mut lines, 1, |first, lines| subtract(self, from, first, lines));
        squares.iter().sum()
    }

    /// `image · factor` and the enlarged `half`, in the memory of `image`.
    pub(in super::super) fn merge(&self, team: &Team, image: &mut Tensor, half: &Tensor, factor: f32) {
        let from = values::<f32>(half);
        team.over(values_mut(image), self.size[1], |first, lines| merge(self, from, first, factor, lines));
    }

    /// Memory for [`Self::enlarge`].
    fn scratch(&self) -> Scratch {
        let pairs = (self.size[1] + self.before[1]).div_ceil(2);
        Scratch { sums: vec![0.0; self.half[1].max(pairs) + 4], line: vec![[0.0; 2]; pairs] }
    }

    /// A row of all planes of the enlarged half.
    #[inline(always)]
    fn enlarge<'a>(&self, half: &[f32], row: usize, scratch: &'a mut Scratch) -> &'a [f32] {
        let (plane, row) = (row / self.size[0], row % self.size[0] + self.before[0]);
        let [rows, columns] = self.half;
        let Scratch { sums, line } = scratch;
        // Row i of the half reaches the rows 2i to 2i + 4 of an image that begins `before` rows above.
        let weights: &[f32] = if row % 2 == 0 { &[1.0, 6.0, 1.0] } else { &[4.0, 4.0] };
        let inner = &mut sums[2..][..columns];
        inner.fill(0.0);
        for (above, weight) in weights.iter().enumerate() {
            let Some(from) = (row / 2).checked_sub(above).filter(|from| *from < rows) else { continue };
            let from = &half[(plane * rows + from) * columns..][..columns];
            for (sum, value) in inner.iter_mut().zip(from) {
                *sum += weight * value;
            }
        }
        let pairs = line.len();
        let (last, middle, next) = (&sums[..pairs], &sums[1..][..pairs], &sums[2..][..pairs]);
        for (((pair, last), middle), next) in line.iter_mut().zip(last).zip(middle).zip(next) {
            *pair = [(last + 6.0 * middle + next) / 64.0, (middle + next) / 16.0];
        }
        &line.as_flattened()[self.before[1]..][..self.size[1]]
    }
}

/// What enlarging a row needs.
struct Scratch {
    /// A row of the half's width with zeros on both sides: two before, at least two behind.
    sums: Vec<f32>,
    /// The enlarged row, even and odd columns.
    line: Vec<[f32; 2]>,
}

vectorised! {
    // The rows of `half` from `first`, over all planes.
    fn blur(halving: &Halving, image: &[f32], first: usize, half: &mut [f32]) {
        let Halving { size: [height, width], half: [rows, columns], before: [top, left], .. } = *halving;
        let mut sums = vec![[0.0f32; 2]; columns.max((left + width).div_ceil(2)) + 2];
        for (index, half) in half.chunks_exact_mut(columns).enumerate() {
            let (plane, row) = ((first + index) / rows, (first + index) % rows);
            let inner = &mut sums.as_flattened_mut()[left..][..width];
            inner.fill(0.0);
            for (tap, weight) in TAPS.into_iter().enumerate() {
                let Some(from) = (2 * row + tap).checked_sub(top).filter(|from| *from < height) else {
                    continue;
                };
                let from = &image[(plane * height + from) * width..][..width];
                for (sum, value) in inner.iter_mut().zip(from) {
                    *sum += weight * value;
                }
            }
            let (last, middle, next) = (&sums[..columns], &sums[1..][..columns], &sums[2..][..columns]);
            for (((value, last), middle), next) in half.iter_mut().zip(last).zip(middle).zip(next) {
                let far = last[0] + next[0];
                let near = last[1] + middle[1];
                *value = (far + 4.0 * near + 6.0 * middle[0]) / 256.0;
            }
        }
    }
}

vectorised! {
    fn subtract(halving: &Halving, half: &[f32], first: usize, lines: &mut [(&mut [f32], &mut f64)]) {
        let mut scratch = halving.scratch();
        for (index, (line, squares)) in lines.iter_mut().enumerate() {
            let enlarged = halving.enlarge(half, first + index, &mut scratch);
            let mut sums = [0.0f64; 16];
            let (chunks, rest) = line.as_chunks_mut::<16>();
            let (enlarged, last) = enlarged.as_chunks::<16>();
            for (values, enlarged) in chunks.iter_mut().zip(enlarged) {
                for ((value, enlarged), sum) in values.iter_mut().zip(enlarged).zip(&mut sums) {
                    *value -= enlarged;
                    *sum += f64::from(*value) * f64::from(*value);
                }
            }
            for (value, enlarged) in rest.iter_mut().zip(last) {
                *value -= enlarged;
                sums[0] += f64::from(*value) * f64::from(*value);
            }
            **squares = sums.iter().sum();
        }
    }
}

vectorised! {
    fn merge(halving: &Halving, half: &[f32], first: usize, factor: f32, lines: &mut [f32]) {
        let mut scratch = halving.scratch();
        for (index, line) in lines.chunks_exact_mut(halving.size[1]).enumerate() {
            let enlarged = halving.enlarge(half, first + index, &mut scratch);
            for (value, enlarged) in line.iter_mut().zip(enlarged) {
                *value = *value * factor + enlarged;
            }
        }
    }
}
