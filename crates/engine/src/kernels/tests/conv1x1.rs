//! Against libtorch's convolutions of small whole numbers, whose sums are exact in both kinds.

use tch::{Device, Kind, Tensor};

use super::super::{Conv1x1, Epilogue, PostOps, ReluMask, instruction_set, thread_pool};

const PLAIN: PostOps<'static> = PostOps { epilogue: Epilogue::NONE, sum: None, relu: None };

/// From `−most` to `most`, in channels-last memory.
fn random(most: i64, [images, channels, height, width]: [i64; 4]) -> Tensor {
    let shape = [images, height, width, channels];
    (Tensor::randint(2 * most + 1, shape, (Kind::Float, Device::Cpu)) - most).permute([0, 3, 1, 2])
}

/// The weights, where this processor has a kernel for them.
fn conv1x1(weight: &Tensor) -> Option<Conv1x1> {
    let ours = Conv1x1::new(weight).unwrap();
    assert!(ours.is_some() || weight.kind() == Kind::BFloat16 || !instruction_set().has_fma());
    ours
}

fn agree(ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.size(), theirs.size());
    assert_eq!(ours.stride()[1], 1);
    let difference = (ours.to_kind(Kind::Float) - theirs).abs().max().double_value(&[]);
    assert!(difference == 0.0, "{difference} of {:?}", ours.size());
}

#[test]
fn results_are_libtorchs() {
    let threads = thread_pool();
    for (images, height, width) in [(1, 1, 1), (1, 1, 5), (1, 7, 9), (2, 5, 6), (1, 40, 31)] {
        for (channels, kernels) in [(2, 1), (16, 16), (8, 24), (34, 33), (24, 64), (30, 96)] {
            let weight = random(1, [kernels, channels, 1, 1]);
            let bias = random(9, [1, kernels, 1, 1]).reshape([kernels]);
            // With other channels between those of a pixel and of the next.
            let x = random(4, [images, channels + 3, height, width]).narrow(1, 2, channels);
            let expected = x.conv2d(&weight, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1);
            for kind in [Kind::Float, Kind::BFloat16] {
                let Some(ours) = conv1x1(&weight.to_kind(kind)) else { continue };
                let (x, bias) = (x.to_kind(kind), bias.to_kind(kind));
                let dense = x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
                for x in [x, dense] {
                    let convolve = |post_ops| ours.convolve(&threads, &x, post_ops).unwrap().unwrap();
                    agree(&convolve(PLAIN), &expected);
                    let epilogue = Epilogue { bias: Some(&bias), low: 0.0, high: 6.0 };
                    let with_bias = &expected + bias.to_kind(Kind::Float).reshape([1, -1, 1, 1]);
                    agree(&convolve(PostOps { epilogue, ..PLAIN }), &with_bias.clamp(0.0, 6.0));
                    let y = random(4, [images, kernels, height, width]);
                    let output = y.to_kind(kind);
                    let relu = Some(ReluMask { output: &output, limit: 3.0 });
                    let through = convolve(PostOps { relu, ..PLAIN });
                    agree(&through, &y.hardtanh_backward(&expected, 0.0, 3.0));
                    let there = y.copy().to_kind(kind);
                    let sum = convolve(PostOps { sum: Some(&there), ..PLAIN });
                    agree(&sum, &(&expected + &y));
                    assert_eq!(sum.data_ptr(), there.data_ptr(), "the sum is where it was");
                }
            }
        }
    }
}

#[test]
fn nan_propagates() {
    let limited = PostOps { epilogue: Epilogue { bias: None, low: 0.0, high: 6.0 }, ..PLAIN };
    for kind in [Kind::Float, Kind::BFloat16] {
        let Some(ours) = conv1x1(&random(1, [20, 4, 1, 1]).to_kind(kind)) else { continue };
        let bad = random(1, [1, 4, 6, 5]).to_kind(kind).full_like(f64::NAN);
        let y = ours.convolve(&thread_pool(), &bad, limited).unwrap().unwrap();
        assert_eq!(y.isnan().all().int64_value(&[]), 1);
    }
}

#[test]
fn unsupported_maps_are_left_to_others() {
    let threads = thread_pool();
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    assert!(Conv1x1::new(&zeros(&[16, 16, 1, 3])).unwrap().is_none());
    let odd = zeros(&[16, 3, 1, 1]).to_kind(Kind::BFloat16);
    assert!(Conv1x1::new(&odd).unwrap().is_none());
    let Some(ours) = conv1x1(&random(1, [16, 4, 1, 1])) else { return };
    let planes = zeros(&[1, 4, 6, 5]);
    assert!(ours.convolve(&threads, &planes, PLAIN).unwrap().is_none());
    let others = random(1, [1, 6, 6, 5]);
    assert!(ours.convolve(&threads, &others, PLAIN).unwrap().is_none());
    let x = random(1, [1, 4, 6, 5]);
    let elsewhere = PostOps { sum: Some(&zeros(&[1, 16, 6, 5])), ..PLAIN };
    assert!(ours.convolve(&threads, &x, elsewhere).unwrap().is_none());
}

#[test]
fn results_have_the_same_bits_whatever_is_beside_them() {
    let (threads, draw) = (thread_pool(), |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu)));
    let all = draw(&[1, 9, 11, 34]).permute([0, 3, 1, 2]);
    for kind in [Kind::Float, Kind::BFloat16] {
        let Some(ours) = conv1x1(&draw(&[40, 34, 1, 1]).to_kind(kind)) else { continue };
        let all = all.to_kind(kind);
        let together = ours.convolve(&threads, &all, PLAIN).unwrap().unwrap();
        for row in 0..9 {
            let alone = all.narrow(2, row, 1);
            let alone = ours.convolve(&threads, &alone, PLAIN).unwrap().unwrap();
            assert!(alone.equal(&together.narrow(2, row, 1)), "row {row}");
        }
    }
}
