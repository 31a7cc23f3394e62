//! Local response normalisation.

use proptest::prelude::*;

use super::{Buffer, Fill, cases, channels, close, draw, fill, kind, on_all};
use crate::{LrnParams, ValueKind};

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn results_and_gradients_are_those_of_plain_loops(
        pixels in 1usize..6, channels in channels(), radius in 0usize..7, kind in kind(), fill in fill(),
        seed in any::<u64>(), beta in prop_oneof![Just(0.75f32), Just(0.5f32), Just(0.6f32)],
        through_relu in any::<bool>(),
    ) {
        let params = LrnParams { radius, bias: 1.5, alpha: 0.02, beta };
        let shape = [1, pixels, 1, channels];
        let x = draw(seed, fill, kind, pixels * channels);
        let gradient = draw(seed ^ 1, fill, kind, pixels * channels);
        let (map, gradient_map) = (Buffer::new(kind, &x), Buffer::new(kind, &gradient));
        let forward = |threads: &_| {
            let mut y = Buffer::stale(kind, shape);
            params.forward(threads, map.map(shape), y.map_mut(shape)).unwrap();
            y
        };
        let backward = |threads: &_| {
            let mut back = Buffer::stale(kind, shape);
            let (map, gradient) = (map.map(shape), gradient_map.map(shape));
            params.backward(threads, map, through_relu, gradient, back.map_mut(shape)).unwrap();
            back
        };
        let found = [on_all(|threads| forward(threads).bits()), on_all(|threads| backward(threads).bits())];
        if matches!(fill, Fill::Special) {
            return Ok(());
        }
        let found = found.map(|bits| bits.into_iter().map(f32::from_bits).collect::<Vec<_>>());

        let wide = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
        let (x, gradient) = (wide(&x), wide(&gradient));
        let (mut y, mut back) = (Vec::new(), Vec::new());
        for (x, gradient) in x.chunks(channels).zip(gradient.chunks(channels)) {
            let around = |channel: usize| channel.saturating_sub(radius)..(channel + radius + 1).min(channels);
            let sums: Vec<f64> = (0..channels)
                .map(|channel| {
                    let squares: f64 = x[around(channel)].iter().map(|x| x * x).sum();
                    f64::from(params.bias) + f64::from(params.alpha) * squares
                })
                .collect();
            let power = |channel: usize| sums[channel].powf(-f64::from(beta));
            for channel in 0..channels {
                y.push(x[channel] * power(channel));
                let through: f64 = around(channel).map(|j| gradient[j] * x[j] * power(j) / sums[j]).sum();
                let factor = 2.0 * f64::from(params.alpha) * f64::from(beta);
                let value = gradient[channel] * power(channel) - factor * x[channel] * through;
                back.push(if through_relu && x[channel] <= 0.0 { 0.0 } else { value });
            }
        }
        let tolerance = if kind == ValueKind::F32 { 2.0e-6 } else { 4.0e-3 };
        close(&found[0], &y, tolerance)?;
        close(&found[1], &back, tolerance)?;
    }
}
