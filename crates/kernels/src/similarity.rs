//! An image that is turned and scaled about its centre, and the adjoint of that.
//!
//! Each pixel of the result is interpolated between four of the image; beyond an edge the image is mirrored. Where these four are
//! takes little arithmetic, so it is worked out anew for each row, once for all planes. A chain of operations over tensors keeps it for
//! all pixels, 160 bytes for each, and takes five times as long.
//!
//! The adjoint adds up what each pixel has given away. Each thread has some rows of the sum, goes through the pixels that may have
//! been made of them, and leaves the others': so every value is summed in the same order, by however many threads.

use super::{KernelError, ThreadPool, instruction_set::dispatch_autovectorized, map::check_length};

/// How an image is turned and scaled.
#[derive(Clone, Copy, Debug)]
pub struct Similarity {
    planes: usize,
    /// Rows and columns.
    size: [usize; 2],
    /// A step to the right in the result, as one in the image: to the right, and up.
    step: [f64; 2],
}

/// What a pixel of the result is made of.
#[derive(Clone, Copy, Default)]
struct Corners {
    /// Upper and lower row of the image, left and right column.
    rows: [u32; 2],
    columns: [u32; 2],
    /// How much of upper left, upper right, lower left and lower right.
    weights: [f32; 4],
}

/// The same row of all planes.
type Line<'a> = Vec<&'a mut [f32]>;

impl Similarity {
    /// Makes images of so many planes, rows and columns `scale` times larger, and turns them clockwise; none for an image without
    /// pixels, or a scale that is no number above zero.
    pub fn new(planes: usize, size: [usize; 2], scale: f64, radians: f64) -> Option<Self> {
        let (sine, cosine) = radians.sin_cos();
        let step = [cosine / scale, sine / scale];
        let usable =
            planes > 0 && !size.contains(&0) && scale > 0.0 && step.iter().all(|part| part.is_finite());
        usable.then_some(Self { planes, size, step })
    }

    /// Writes the turned and scaled `image` to `seen`.
    ///
    /// # Errors
    /// [`KernelError::Length`] unless both are of this size.
    pub fn apply(&self, threads: &ThreadPool, image: &[f32], seen: &mut [f32]) -> Result<(), KernelError> {
        self.check(image, seen)?;
        let bytes = size_of_val(seen);
        threads.split_by_cost(bytes, &mut self.lines(seen), 1, |first, lines| {
            apply(threads.isa(), self, image, first, lines);
        });
        Ok(())
    }

    /// Writes to `sum` what [`Self::apply`] has for an adjoint: the gradient by the image, given that by the result.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn adjoint(
        &self,
        threads: &ThreadPool,
        gradient: &[f32],
        sum: &mut [f32],
    ) -> Result<(), KernelError> {
        self.check(gradient, sum)?;
        let bytes = size_of_val(sum);
        threads.split_by_cost(bytes, &mut self.lines(sum), 1, |first, lines| {
            adjoint(threads.isa(), self, gradient, first, lines);
        });
        Ok(())
    }

    fn check(&self, read: &[f32], written: &[f32]) -> Result<(), KernelError> {
        let values = self.planes * self.size[0] * self.size[1];
        check_length("image", read.len(), values)?;
        check_length("turned image", written.len(), values)
    }

    /// The rows of an image of this size.
    fn lines<'a>(&self, image: &'a mut [f32]) -> Vec<Line<'a>> {
        let [height, width] = self.size;
        let mut lines: Vec<Line<'a>> = (0..height).map(|_| Vec::with_capacity(self.planes)).collect();
        for (index, line) in image.chunks_exact_mut(width).enumerate() {
            lines[index % height].push(line);
        }
        lines
    }

    /// The rows of the image that a row of the result may be made of, `[first, last]`, before they are mirrored.
    fn reach(&self, row: usize) -> [f64; 2] {
        let width = self.size[1];
        let [one, other] = [0, width - 1].map(|column| self.origin(row, column)[0]);
        // Rounding may move a pixel by far less than a row.
        [one.min(other).floor() - 1.0, one.max(other).floor() + 2.0]
    }

    /// Row and column of the image that a pixel of the result comes from.
    #[inline(always)]
    fn origin(&self, row: usize, column: usize) -> [f64; 2] {
        let [height, width] = self.size.map(|extent| extent as f64);
        // Centres of pixels, counted from the image's centre; then from its first pixel.
        let [y, x] = [row as f64 + 0.5 - height / 2.0, column as f64 + 0.5 - width / 2.0];
        let [along, up] = self.step;
        [x * -up + y * along + (height / 2.0 - 0.5), x * along + y * up + (width / 2.0 - 0.5)]
    }

    /// Those of all pixels of a row of the result.
    #[inline(always)]
    fn corners(&self, row: usize, line: &mut [Corners]) {
        let [height, width] = self.size;
        for (column, corners) in line.iter_mut().enumerate() {
            let [y, x] = self.origin(row, column);
            let [top, left] = [y, x].map(f64::floor);
            let [lower, right] = [y - top, x - left];
            let [upper, left_share] = [1.0 - lower, 1.0 - right];
            *corners = Corners {
                rows: [mirrored(top, height), mirrored(top + 1.0, height)],
                columns: [mirrored(left, width), mirrored(left + 1.0, width)],
                weights: [upper * left_share, upper * right, lower * left_share, lower * right]
                    .map(|share| share as f32),
            };
        }
    }
}

/// A place along an axis of `extent` pixels as one of these: what is beyond an edge is the mirror image of what is before it.
#[inline(always)]
fn mirrored(at: f64, extent: usize) -> u32 {
    let (at, extent) = (at as i64, extent as i64);
    if (0..extent).contains(&at) {
        return at as u32;
    }
    let there_and_back = at.rem_euclid(2 * extent);
    there_and_back.min(2 * extent - 1 - there_and_back) as u32
}

dispatch_autovectorized! {
    // The rows of the result from `first` on.
    fn apply(by: &Similarity, image: &[f32], first: usize, lines: &mut [Line<'_>]) {
        let [height, width] = by.size;
        let mut corners = vec![Corners::default(); width];
        for (index, line) in lines.iter_mut().enumerate() {
            by.corners(first + index, &mut corners);
            for (values, plane) in line.iter_mut().zip(image.chunks_exact(height * width)) {
                for (value, corners) in values.iter_mut().zip(&corners) {
                    let Corners { rows, columns, weights } = corners;
                    let [upper, lower] = rows.map(|row| row as usize * width);
                    let [left, right] = columns.map(|column| column as usize);
                    *value = plane[upper + left] * weights[0]
                        + plane[upper + right] * weights[1]
                        + plane[lower + left] * weights[2]
                        + plane[lower + right] * weights[3];
                }
            }
        }
    }
}

dispatch_autovectorized! {
    // The rows of the sum from `first` on.
    fn adjoint(by: &Similarity, gradient: &[f32], first: usize, lines: &mut [Line<'_>]) {
        let [height, width] = by.size;
        for value in lines.iter_mut().flatten() {
            value.fill(0.0);
        }
        let (start, end) = (first as f64, (first + lines.len()) as f64);
        let mut corners = vec![Corners::default(); width];
        for row in 0..height {
            let [from, to] = by.reach(row);
            let is_inside = from >= 0.0 && to < height as f64;
            if is_inside && (to < start || from >= end) {
                continue;
            }
            by.corners(row, &mut corners);
            for (column, corners) in corners.iter().enumerate() {
                let [left, right] = corners.columns.map(|column| column as usize);
                for (at, weights) in corners.rows.iter().zip(corners.weights.chunks_exact(2)) {
                    let Some(line) = lines.get_mut((*at as usize).wrapping_sub(first)) else { continue };
                    // Plane by plane: sums into the same pixel would wait for each other.
                    for (line, gradient) in line.iter_mut().zip(gradient.chunks_exact(height * width)) {
                        let value = gradient[row * width + column];
                        line[left] += value * weights[0];
                        line[right] += value * weights[1];
                    }
                }
            }
        }
    }
}
