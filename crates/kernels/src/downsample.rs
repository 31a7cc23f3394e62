//! Levels of a Gaussian pyramid: downsamples an image to half its size and upsamples it again, with the binomial
//! weights `[1, 4, 6, 4, 1]` along each axis and the borders of a TensorFlow `SAME` convolution. The Laplacian pyramid
//! is made of these.
//!
//! The filter is separable: each output row is a weighted sum of a few rows, which is then weighted along itself. That
//! is 10 multiplications a pixel instead of 25, and what a row needs stays in the nearest cache. What the pyramid does
//! with the result (subtract it, add it, measure what is left) happens in the same pass.

use super::{KernelError, ThreadPool, instruction_set::dispatch_autovectorized, map::check_length};

/// The weights along an axis; the sum is 16.
pub const TAPS: [f32; 5] = [1.0, 4.0, 6.0, 4.0, 1.0];

/// Two neighbouring levels of a Gaussian pyramid: an image and its half, as planes one after the other.
#[derive(Clone, Copy, Debug)]
pub struct GaussianPyramidLevel {
    planes: usize,
    /// Rows and columns of the image.
    size: [usize; 2],
    /// Rows and columns of the half: rounded up.
    half: [usize; 2],
    /// Rows and columns that the first window reaches over the edge.
    before: [usize; 2],
}

impl GaussianPyramidLevel {
    /// Of images of so many planes, rows and columns; none for an image without pixels.
    pub fn new(planes: usize, size: [usize; 2]) -> Option<Self> {
        if planes == 0 || size.contains(&0) {
            return None;
        }
        let half = size.map(|n| n.div_ceil(2));
        // `SAME` padding, the smaller part in front.
        let before = [0, 1].map(|axis| ((half[axis] - 1) * 2 + TAPS.len()).saturating_sub(size[axis]) / 2);
        Some(Self { planes, size, half, before })
    }

    /// Rows and columns of the half.
    pub fn half_size(&self) -> [usize; 2] {
        self.half
    }

    /// Writes the blurred half of `image` to `half`.
    ///
    /// # Errors
    /// [`KernelError::Length`] unless both are of this level's sizes.
    pub fn downsample(
        &self,
        threads: &ThreadPool,
        image: &[f32],
        half: &mut [f32],
    ) -> Result<(), KernelError> {
        self.check(image, half)?;
        threads.split(half, self.half[1], |first, lines| {
            downsample(threads.isa(), self, image, first, lines);
        });
        Ok(())
    }

    /// Subtracts the upsampled `half` from `image`; the sum of the squares of what is left.
    ///
    /// # Errors
    /// As [`Self::downsample`].
    pub fn subtract_upsampled(
        &self,
        threads: &ThreadPool,
        image: &mut [f32],
        half: &[f32],
    ) -> Result<f64, KernelError> {
        self.check(image, half)?;
        let bytes = size_of_val(image);
        // A sum for each row, so that the total does not depend on the number of threads.
        let mut squares = vec![0.0; self.planes * self.size[0]];
        let lines = image.chunks_mut(self.size[1]);
        let mut lines: Vec<(&mut [f32], &mut f64)> = lines.zip(&mut squares).collect();
        threads.split_by_cost(bytes, &mut lines, 1, |first, lines| {
            subtract(threads.isa(), self, half, first, lines);
        });
        Ok(squares.iter().sum())
    }

    /// `image · factor` plus the upsampled `half`, in the memory of `image`.
    ///
    /// # Errors
    /// As [`Self::downsample`].
    pub fn scale_and_add_upsampled(
        &self,
        threads: &ThreadPool,
        image: &mut [f32],
        half: &[f32],
        factor: f32,
    ) -> Result<(), KernelError> {
        self.check(image, half)?;
        threads.split(image, self.size[1], |first, lines| {
            scale_and_add(threads.isa(), self, half, first, factor, lines);
        });
        Ok(())
    }

    /// Whether slices are of this level's sizes.
    fn check(&self, image: &[f32], half: &[f32]) -> Result<(), KernelError> {
        let [pixels, half_pixels] =
            [self.size, self.half].map(|[rows, columns]| self.planes * rows * columns);
        check_length("image", image.len(), pixels)?;
        check_length("half of the image", half.len(), half_pixels)
    }

    /// Memory for [`Self::upsample`].
    fn scratch(&self) -> Scratch {
        let pairs = (self.size[1] + self.before[1]).div_ceil(2);
        Scratch { sums: vec![0.0; self.half[1].max(pairs) + 4], line: vec![[0.0; 2]; pairs] }
    }

    /// A row of all planes of the upsampled half.
    #[inline(always)]
    fn upsample<'a>(&self, half: &[f32], row: usize, scratch: &'a mut Scratch) -> &'a [f32] {
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

/// What upsampling a row needs.
struct Scratch {
    /// A row of the half's width with zeros on both sides: two before, at least two behind.
    sums: Vec<f32>,
    /// The upsampled row, even and odd columns.
    line: Vec<[f32; 2]>,
}

dispatch_autovectorized! {
    // The rows of `half` from `first`, over all planes.
    fn downsample(level: &GaussianPyramidLevel, image: &[f32], first: usize, half: &mut [f32]) {
        let GaussianPyramidLevel { size: [height, width], half: [rows, columns], before: [top, left], .. } = *level;
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

dispatch_autovectorized! {
    fn subtract(level: &GaussianPyramidLevel, half: &[f32], first: usize, lines: &mut [(&mut [f32], &mut f64)]) {
        let mut scratch = level.scratch();
        for (index, (line, squares)) in lines.iter_mut().enumerate() {
            let upsampled = level.upsample(half, first + index, &mut scratch);
            let mut sums = [0.0f64; 16];
            let (chunks, rest) = line.as_chunks_mut::<16>();
            let (upsampled, last) = upsampled.as_chunks::<16>();
            for (values, upsampled) in chunks.iter_mut().zip(upsampled) {
                for ((value, upsampled), sum) in values.iter_mut().zip(upsampled).zip(&mut sums) {
                    *value -= upsampled;
                    *sum += f64::from(*value) * f64::from(*value);
                }
            }
            for (value, upsampled) in rest.iter_mut().zip(last) {
                *value -= upsampled;
                sums[0] += f64::from(*value) * f64::from(*value);
            }
            **squares = sums.iter().sum();
        }
    }
}

dispatch_autovectorized! {
    fn scale_and_add(level: &GaussianPyramidLevel, half: &[f32], first: usize, factor: f32, lines: &mut [f32]) {
        let mut scratch = level.scratch();
        for (index, line) in lines.chunks_exact_mut(level.size[1]).enumerate() {
            let upsampled = level.upsample(half, first + index, &mut scratch);
            for (value, upsampled) in line.iter_mut().zip(upsampled) {
                *value = *value * factor + upsampled;
            }
        }
    }
}
