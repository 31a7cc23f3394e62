//! The loops against libtorch's own operations.

use tch::{Device, Kind, Tensor};

use super::{Normalised, Pool, Response, Team};
use crate::graph::{Padding, Window};

fn random(channels: i64, height: i64, width: i64) -> Tensor {
    // Few different values, so that maxima have equals.
    let map = Tensor::randint(9, [1, height, width, channels], (Kind::Float, Device::Cpu)) - 4;
    map.permute([0, 3, 1, 2])
}

fn agree(ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!(ours.size(), theirs.size());
    let difference = (ours - theirs).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "{difference}");
}

#[test]
fn maxima_and_their_gradients_are_libtorchs() {
    let team = Team::new();
    for channels in [1, 5, 16, 37, 64] {
        for (height, width) in [(1, 1), (7, 9), (12, 5)] {
            for stride in [1, 2] {
                let x = random(channels, height, width);
                let window = Window { kernel: [3, 3], stride: [stride, stride], padding: Padding::Same };
                let pool = Pool::of([height, width], window).unwrap();
                let (y, taps) = pool.forward(&team, &x).unwrap().unwrap();
                // TensorFlow's padding, written out.
                let pads = [0, 1].map(|axis| {
                    let n = pool.input[axis];
                    let (_, before, after) = Padding::Same.resolve(n, 3, stride).unwrap();
                    [before as i64, after as i64]
                });
                let around = [pads[1][0], pads[1][1], pads[0][0], pads[0][1]];
                let leaf = x.copy().set_requires_grad(true);
                let padded = leaf.f_pad(around, "constant", f64::NEG_INFINITY).unwrap();
                let strides = [stride as i64; 2];
                let theirs = padded.max_pool2d([3, 3], strides, [0, 0], [1, 1], false);
                agree(&y, &theirs.detach(), 0.0);
                let gradient = random(channels, y.size()[2], y.size()[3]);
                (theirs * &gradient).sum(Kind::Float).backward();
                agree(&pool.backward(&team, &gradient, &taps).unwrap().unwrap(), &leaf.grad(), 1e-5);
            }
        }
    }
}

#[test]
fn normalised_responses_and_their_gradients_are_libtorchs() {
    let team = Team::new();
    for channels in [1, 3, 17, 64] {
        for (radius, beta) in [(2, 0.75), (5, 0.5), (1, 0.6)] {
            let response = Response { radius, bias: 1.5, alpha: 0.02, beta };
            let x = random(channels, 4, 3);
            let leaf = x.copy().set_requires_grad(true);
            // libtorch divides by the number of neighbours.
            let size = 2 * radius as i64 + 1;
            let theirs = local_response_norm(&leaf, size, 0.02, f64::from(beta), 1.5);
            agree(&response.forward(&team, &x).unwrap().unwrap(), &theirs.detach(), 1e-5);
            let gradient = random(channels, 4, 3);
            (theirs * &gradient).sum(Kind::Float).backward();
            agree(&response.backward(&team, &x, &gradient).unwrap().unwrap(), &leaf.grad(), 1e-4);
        }
    }
}

/// Sums over neighbours as a mean of so many, as libtorch's function of the same name computes them.
fn local_response_norm(x: &Tensor, size: i64, alpha: f64, beta: f64, bias: f64) -> Tensor {
    let squares = x.square().unsqueeze(1);
    let padded = squares.f_pad([0, 0, 0, 0, size / 2, size / 2], "constant", 0.0).unwrap();
    let means =
        padded.avg_pool3d([size, 1, 1], [1, 1, 1], [0, 0, 0], false, true, None::<i64>).squeeze_dim(1);
    x * (means * (size as f64 * alpha) + bias).pow_tensor_scalar(-beta)
}
