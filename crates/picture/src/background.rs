//! What is behind transparent areas: the network must not dream on hidden colours.
//!
//! A picture is laid on a plain colour before the dream, and lifted from it afterwards: the result, laid on that
//! colour, then shows the dream as it was dreamed, and its edges carry nothing of the colour on any other.

use super::{Picture, Samples};

impl Picture {
    /// Lays the picture on a colour; the opacity is kept beside it.
    pub fn lay_on(&mut self, background: [u8; 3]) {
        let Some(alpha) = &self.alpha else { return };
        match &mut self.rgb {
            Samples::Eight(values) => {
                for (pixel, &opacity) in values.chunks_exact_mut(3).zip(alpha) {
                    for (value, behind) in pixel.iter_mut().zip(background) {
                        *value = mix((*value).into(), behind.into(), opacity) as u8;
                    }
                }
            }
            Samples::Sixteen(values) => {
                for (pixel, &opacity) in values.chunks_exact_mut(3).zip(alpha) {
                    for (value, behind) in pixel.iter_mut().zip(background) {
                        *value = mix((*value).into(), u32::from(behind) * 257, opacity) as u16;
                    }
                }
            }
        }
    }

    /// Takes the colour that the picture was laid on out of it again. What is fully transparent keeps that colour.
    pub fn lift_from(&mut self, background: [u8; 3]) {
        let Some(alpha) = &self.alpha else { return };
        let Samples::Eight(values) = &mut self.rgb else { return };
        for (pixel, &opacity) in values.chunks_exact_mut(3).zip(alpha) {
            if matches!(opacity, 0 | 255) {
                continue;
            }
            let opacity = i32::from(opacity);
            for (value, behind) in pixel.iter_mut().zip(background) {
                let own = i32::from(*value) * 255 - i32::from(behind) * (255 - opacity);
                *value = ((own + opacity / 2) / opacity).clamp(0, 255) as u8;
            }
        }
    }
}

/// A share of `opacity` of 255 of one value, and the rest of the other.
fn mix(value: u32, behind: u32, opacity: u8) -> u32 {
    let opacity = u32::from(opacity);
    (value * opacity + behind * (255 - opacity) + 127) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_colours_are_covered_and_edges_come_back() {
        let rgb = Samples::Eight(vec![255, 0, 255, 255, 0, 255, 200, 100, 50]);
        let mut picture = Picture { width: 3, height: 1, rgb, alpha: Some(vec![0, 255, 128]) };
        let original = picture.clone();
        picture.lay_on([255; 3]);
        assert_eq!(picture.rgb, Samples::Eight(vec![255, 255, 255, 255, 0, 255, 227, 177, 152]));
        picture.lift_from([255; 3]);
        let (Samples::Eight(again), Samples::Eight(before)) = (&picture.rgb, &original.rgb) else {
            panic!("as deep as before")
        };
        assert_eq!(again[..6], [255, 255, 255, 255, 0, 255]);
        assert!(again[6..].iter().zip(&before[6..]).all(|(a, b)| a.abs_diff(*b) <= 1), "{again:?}");
    }
}
