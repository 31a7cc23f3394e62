//! The backward pass of ReLUs.

use proptest::prelude::*;

use super::{Buffer, cases, channels, draw, fill, kind, on_all, rounded_bits, spread};
use crate::{Map, ReluMask, relu};

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn gradients_pass_between_the_limits(
        pixels in 1usize..40, channels in channels(), gap in 0usize..5, kind in kind(), fill in fill(),
        seed in any::<u64>(), limit in prop_oneof![Just(f32::INFINITY), Just(1.5f32)],
    ) {
        let shape = [1, 1, pixels, channels];
        let output = draw(seed, fill, kind, pixels * channels);
        let gradient = draw(seed ^ 1, fill, kind, pixels * channels);
        let expected: Vec<f32> = output
            .iter()
            .zip(&gradient)
            .map(|(output, gradient)| if *output > 0.0 && *output < limit { *gradient } else { 0.0 })
            .collect();
        let strided = spread(kind, &gradient, channels, gap);
        let output = Buffer::new(kind, &output);
        let relu = ReluMask { output: output.map(shape), limit };
        let found = on_all(|threads| {
            let mut back = Buffer::stale(kind, shape);
            let gradient = Map::new(strided.values(), shape, channels + gap).unwrap();
            relu::backward(threads, relu, gradient, back.map_mut(shape)).unwrap();
            back.bits()
        });
        prop_assert_eq!(&found, &rounded_bits(kind, &expected));
        let in_place = on_all(|threads| {
            let mut back = Buffer::new(kind, &gradient);
            relu::backward_in_place(threads, relu, back.map_mut(shape)).unwrap();
            back.bits()
        });
        prop_assert_eq!(in_place, found);
    }
}
