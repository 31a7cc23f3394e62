//! A picture as sixels: bands of six rows of dots, in at most 256 colours, as DEC's VT340 drew them
//! (<https://vt100.net/docs/vt3xx-gp/chapter14.html>).

use color_quant::NeuQuant;

use reverie_picture::{Picture, Samples};

/// Colours of the palette.
const COLORS: usize = 256;

/// Of how many pixels one is looked at for the palette, from 1 (all) to 30.
const SAMPLING: i32 = 10;

/// Rows of a band: the bits of a sixel.
const BAND: usize = 6;

/// What is written to the terminal to show a picture.
pub(super) fn sequence(picture: &Picture) -> Vec<u8> {
    let pixels = pixels(picture);
    let palette = NeuQuant::new(SAMPLING, COLORS, &pixels);
    let indices: Vec<usize> = pixels.chunks_exact(4).map(|pixel| palette.index_of(pixel)).collect();
    let width = picture.width as usize;
    // Square pixels, and nothing is drawn where no colour is.
    let mut sequence = format!("\x1bP0;1;0q\"1;1;{};{}", picture.width, picture.height).into_bytes();
    for (index, color) in palette.color_map_rgb().chunks_exact(3).enumerate() {
        // In per cent.
        let [red, green, blue] =
            [color[0], color[1], color[2]].map(|value| (u32::from(value) * 100 + 127) / 255);
        sequence.extend_from_slice(format!("#{index};2;{red};{green};{blue}").as_bytes());
    }
    let mut planes = vec![0_u8; COLORS * width];
    for band in indices.chunks(BAND * width.max(1)) {
        let mut used = [false; COLORS];
        planes.fill(0);
        for (place, &color) in band.iter().enumerate() {
            used[color] = true;
            planes[color * width + place % width] |= 1 << (place / width);
        }
        let drawn = planes.chunks_exact(width.max(1)).enumerate().filter(|(color, _)| used[*color]);
        for (color, plane) in drawn {
            sequence.extend_from_slice(format!("#{color}").as_bytes());
            write_runs(plane, &mut sequence);
            // Back to the left.
            sequence.push(b'$');
        }
        // To the next band.
        sequence.push(b'-');
    }
    sequence.extend_from_slice(b"\x1b\\");
    sequence
}

/// Red, green, blue and 255 of each pixel.
fn pixels(picture: &Picture) -> Vec<u8> {
    let opaque = |color: [u8; 3]| [color[0], color[1], color[2], 255];
    match &picture.rgb {
        Samples::Eight(values) => values.as_chunks::<3>().0.iter().flat_map(|color| opaque(*color)).collect(),
        Samples::Sixteen(values) => {
            let colors = values.as_chunks::<3>().0.iter();
            colors.flat_map(|color| opaque(color.map(|value| (value >> 8) as u8))).collect()
        }
    }
}

/// Sixels from left to right; several that are alike as their number and one of them.
fn write_runs(plane: &[u8], sequence: &mut Vec<u8>) {
    for run in plane.chunk_by(|left, right| left == right) {
        let sixel = b'?' + run[0];
        match run.len() {
            ..4 => sequence.extend(run.iter().map(|_| sixel)),
            length => sequence.extend_from_slice(format!("!{length}{}", char::from(sixel)).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal draws: size and pixels, `None` where nothing was drawn.
    fn drawn(sequence: &[u8]) -> (usize, usize, Vec<Option<[u32; 3]>>) {
        let text = std::str::from_utf8(sequence).unwrap();
        let text = text.strip_prefix("\x1bP0;1;0q\"").unwrap().strip_suffix("\x1b\\").unwrap();
        let mut rest = text.as_bytes();
        let numbers = |rest: &mut &[u8]| {
            let end =
                rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b';').unwrap_or(rest.len());
            let (head, tail) = rest.split_at(end);
            *rest = tail;
            let text = std::str::from_utf8(head).unwrap();
            text.split(';').map(|number| number.parse::<usize>().unwrap()).collect::<Vec<_>>()
        };
        let [1, 1, width, height] = numbers(&mut rest)[..] else { panic!("no size") };
        let mut image = vec![None; width * height];
        let mut palette = vec![[0; 3]; COLORS];
        let (mut color, mut x, mut y, mut times) = (0, 0, 0, 1);
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            match first {
                b'#' => match numbers(&mut rest)[..] {
                    [index] => color = index,
                    [index, 2, r, g, b] => palette[index] = [r as u32, g as u32, b as u32],
                    ref other => panic!("{other:?}"),
                },
                b'!' => times = numbers(&mut rest)[0],
                b'$' => x = 0,
                b'-' => (x, y) = (0, y + BAND),
                sixel => {
                    for bit in (0..BAND).filter(|bit| (sixel - b'?') & (1 << bit) != 0) {
                        for at in x..x + times {
                            image[(y + bit) * width + at] = Some(palette[color]);
                        }
                    }
                    x += times;
                    times = 1;
                }
            }
        }
        (width, height, image)
    }

    #[test]
    fn every_pixel_is_drawn_in_a_colour_like_its_own() {
        for (width, height) in [(1, 1), (7, 6), (3, 13), (40, 125)] {
            let color = |place: usize| [(place % 40 * 6) as u8, (place / 40 * 2) as u8, 200];
            let rgb: Vec<u8> = (0..width * height).flat_map(|place| color(place as usize)).collect();
            let picture = Picture { width, height, rgb: Samples::Eight(rgb), alpha: None };
            let (found_width, found_height, image) = drawn(&sequence(&picture));
            assert_eq!((found_width, found_height), (width as usize, height as usize));
            let differences = image.into_iter().enumerate().flat_map(|(place, found)| {
                let found = found.expect("a hole");
                [0, 1, 2].map(|at| (f64::from(found[at]) * 2.55 - f64::from(color(place)[at])).abs())
            });
            let mean = differences.sum::<f64>() / f64::from(width * height * 3);
            // A palette is learned, and a few pixels teach little.
            assert!(width * height < 1000 || mean < 8.0, "{mean}");
        }
    }
}
