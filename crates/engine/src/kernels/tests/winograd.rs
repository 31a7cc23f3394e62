//! Against libtorch's convolutions in float64; nothing is tested on a processor without fused multiply-adds.

use tch::{Device, Kind, Tensor};

use super::super::{Epilogue, PostOps, Winograd, instruction_set, thread_pool};

const PLAIN: PostOps<'static> = PostOps { epilogue: Epilogue::NONE, sum: None, relu: None };

/// Random values in channels-last memory.
fn random(shape: [i64; 4]) -> Tensor {
    let [images, channels, height, width] = shape;
    Tensor::randn([images, height, width, channels], (Kind::Float, Device::Cpu)).permute([0, 3, 1, 2])
}

fn winograd(weight: &Tensor) -> Winograd {
    Winograd::new(weight, false).unwrap()
}

fn exact(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: [i64; 2]) -> Tensor {
    let bias = bias.map(|bias| bias.to_kind(Kind::Double));
    let (x, weight) = (x.to_kind(Kind::Double), weight.to_kind(Kind::Double));
    x.conv2d(&weight, bias, [1, 1], padding, [1, 1], 1)
}

/// Whether the largest difference is at most so large a part of the largest value.
fn agree(ours: &Tensor, exact: &Tensor, tolerance: f64) {
    assert_eq!(ours.size(), exact.size());
    let difference = (ours.to_kind(Kind::Double) - exact).abs().max().double_value(&[]);
    let part = difference / exact.abs().max().double_value(&[]);
    assert!(part <= tolerance, "{part} of {:?}", exact.size());
}

#[test]
fn results_are_those_of_plain_sums() {
    if !instruction_set().has_fma() {
        return;
    }
    let threads = thread_pool();
    for (shape, kernels, edge, padding) in [
        ([1, 16, 17, 33], 16, 3, [1, 1]),
        ([2, 32, 20, 23], 48, 3, [1, 1]),
        ([1, 144, 24, 25], 80, 3, [0, 0]),
        ([1, 64, 4, 150], 32, 3, [2, 1]),
        ([1, 16, 1, 2], 16, 3, [1, 1]),
        ([3, 16, 37, 21], 40, 3, [0, 2]),
        ([1, 64, 31, 18], 16, 4, [3, 3]),
        ([2, 32, 18, 23], 5, 4, [0, 1]),
        ([1, 48, 20, 21], 24, 5, [2, 2]),
        ([2, 16, 14, 9], 32, 5, [4, 0]),
    ] {
        let x = random(shape);
        let weight = Tensor::randn([kernels, shape[1], edge, edge], (Kind::Float, Device::Cpu));
        let bias = Tensor::randn([kernels], (Kind::Float, Device::Cpu)) * 10.0;
        // What is rounded to bfloat16 first is rounded in the exact sums too.
        for (kind, tolerance) in [(Kind::Float, 4e-6), (Kind::BFloat16, 4e-3)] {
            let (x, weight, bias) = (x.to_kind(kind), weight.to_kind(kind), bias.to_kind(kind));
            let winograd = winograd(&weight);
            let convolve = |post_ops| {
                let y = winograd.convolve(&threads, &x, padding, post_ops).unwrap().unwrap();
                assert_eq!((y.kind(), y.stride()[1]), (kind, 1));
                y
            };
            let expected = exact(&x, &weight, None, padding);
            agree(&convolve(PLAIN), &expected, tolerance);
            let with_bias = exact(&x, &weight, Some(&bias), padding);
            let epilogue = Epilogue { bias: Some(&bias), low: 0.0, high: 6.0 };
            agree(&convolve(PostOps { epilogue, ..PLAIN }), &with_bias.clamp(0.0, 6.0), 30.0 * tolerance);
            let there = random([shape[0], kernels, expected.size()[2], expected.size()[3]]).to_kind(kind);
            let both = expected + there.to_kind(Kind::Double);
            let sum = convolve(PostOps { sum: Some(&there), ..PLAIN });
            agree(&sum, &both, tolerance);
            assert_eq!(sum.data_ptr(), there.data_ptr(), "the sum is where it was");
        }
    }
}

#[test]
fn results_have_the_same_bits_whatever_is_beside_them() {
    if !instruction_set().has_fma() {
        return;
    }
    let threads = thread_pool();
    let weight = Tensor::randn([32, 48, 3, 3], (Kind::Float, Device::Cpu));
    let winograd = winograd(&weight);
    let x = random([5, 48, 22, 21]);
    let convolve = |x: &Tensor| winograd.convolve(&threads, x, [1, 1], PLAIN).unwrap().unwrap();
    let all = convolve(&x);
    for index in 0..5 {
        assert_eq!(convolve(&x.narrow(0, index, 1)), all.narrow(0, index, 1));
    }
    // Some of the channels of a larger map.
    let larger = random([1, 80, 22, 21]);
    let part = larger.narrow(1, 16, 48);
    let copy = part.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    assert_eq!(convolve(&part), convolve(&copy));
}

#[test]
fn results_are_equal_where_the_map_is() {
    if !instruction_set().has_fma() {
        return;
    }
    let threads = thread_pool();
    for (edge, padding) in [(3, [1, 1]), (5, [2, 2]), (4, [0, 3])] {
        let weight = Tensor::randn([24, 32, edge, edge], (Kind::Float, Device::Cpu));
        let bias = Tensor::randn([24], (Kind::Float, Device::Cpu));
        // Columns, rows and an area around a corner, each of one value a channel; the rest is as it comes.
        let x = random([2, 32, 30, 34]);
        let pixel = random([1, 32, 1, 1]);
        for (image, rows, columns) in
            [(0, 0..30, 4..14), (0, 21..30, 0..34), (1, 0..9, 20..34), (1, 3..19, 2..9), (1, 12..19, 2..31)]
        {
            let area = x.narrow(0, image, 1).narrow(2, rows.start, rows.end - rows.start);
            area.narrow(3, columns.start, columns.end - columns.start).copy_(&pixel);
        }
        for kind in [Kind::Float, Kind::BFloat16] {
            let (x, weight, bias) = (x.to_kind(kind), weight.to_kind(kind), bias.to_kind(kind));
            let winograd = Winograd::new(&weight, true).unwrap();
            let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::NONE };
            let y = winograd.convolve(&threads, &x, padding, PostOps { epilogue, ..PLAIN });
            let y = y.unwrap().unwrap();
            let expected = exact(&x, &weight, Some(&bias), padding);
            agree(&y, &expected, if kind == Kind::Float { 4e-6 } else { 4e-3 });
            // Neighbours have equal patches where they read the same windows of values.
            let windows = x.to_kind(Kind::Float).f_im2col([edge, edge], [1, 1], padding, [1, 1]).unwrap();
            let [_, _, rows, columns] = expected.size()[..] else { panic!("not a map") };
            let windows = windows.reshape([2, -1, rows, columns]);
            let mut equal = 0;
            for (axis, length) in [(2, rows), (3, columns)] {
                let pairs = |map: &Tensor| {
                    map.narrow(axis, 0, length - 1).eq_tensor(&map.narrow(axis, 1, length - 1))
                };
                let (see, give) = (pairs(&windows).all_dim(1, false), pairs(&y).all_dim(1, false));
                equal += see.sum(Kind::Int64).int64_value(&[]);
                assert_eq!(see.logical_and(&give.logical_not()).any().int64_value(&[]), 0, "{edge} {kind:?}");
            }
            assert!(equal > 200, "only {equal} pairs see the same");
        }
    }
}

#[test]
fn nan_propagates() {
    if !instruction_set().has_fma() {
        return;
    }
    let threads = thread_pool();
    let weight = Tensor::randn([16, 16, 3, 3], (Kind::Float, Device::Cpu));
    let x = random([1, 16, 24, 24]);
    let _ = x.narrow(2, 7, 1).narrow(3, 9, 1).narrow(1, 3, 1).fill_(f64::NAN);
    let relu = PostOps { epilogue: Epilogue { low: 0.0, ..Epilogue::NONE }, ..PLAIN };
    let y = winograd(&weight).convolve(&threads, &x, [1, 1], relu).unwrap().unwrap();
    assert!(y.narrow(2, 6, 3).narrow(3, 8, 3).isnan().all().int64_value(&[]) == 1);
    assert!(y.narrow(2, 16, 8).isnan().any().int64_value(&[]) == 0);
}

#[test]
fn unsupported_maps_are_left_to_others() {
    if !instruction_set().has_fma() {
        return;
    }
    let threads = thread_pool();
    let weight = |shape: [i64; 4]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let winograd = winograd(&weight([16, 16, 3, 3]));
    let convolve = |x: &Tensor, sum: Option<&Tensor>| {
        winograd.convolve(&threads, x, [1, 1], PostOps { sum, ..PLAIN }).unwrap()
    };
    let x = random([1, 16, 30, 30]);
    assert!(convolve(&x, None).is_some());
    assert!(convolve(&random([1, 16, 30, 0]), None).is_none(), "nothing");
    assert!(convolve(&random([1, 32, 30, 30]), None).is_none(), "other channels");
    assert!(convolve(&x.contiguous(), None).is_none(), "another layout");
    assert!(convolve(&x.to_kind(Kind::Double), None).is_none(), "another kind");
    let larger = random([1, 32, 30, 30]);
    assert!(convolve(&x, Some(&larger.narrow(1, 0, 16))).is_none(), "a sum with gaps");
}

#[test]
fn there_is_a_kernel_for_what_the_rule_of_predictions_names() {
    for taps in 0..9 {
        for (outputs, channels) in
            (0..70).flat_map(|outputs| (0..70).map(move |channels| (outputs, channels)))
        {
            let weights = [outputs, channels, taps, taps];
            let fits = reverie_kernels::Winograd::fits(weights);
            assert!(fits || !reverie_dream::plan::winograd::suits(weights), "{weights:?}");
        }
    }
}

#[test]
fn what_does_not_pay_is_left_to_others() {
    if !instruction_set().has_fma() {
        return;
    }
    let pays = |shape: [i64; 4], kind, size| {
        let weight = Tensor::randn(shape, (Kind::Float, Device::Cpu));
        let x = random([7, shape[1], size, size]).to_kind(kind);
        Winograd::pays(&weight, &x, [shape[2] / 2; 2]).unwrap()
    };
    let [three, five] = [3, 5].map(|edge| [16, 16, edge, edge]);
    assert!(!pays(three, Kind::Float, 8) && pays(three, Kind::Float, 9) && pays(five, Kind::Float, 9));
    assert!(!pays(three, Kind::BFloat16, 19) && pays(three, Kind::BFloat16, 20));
    assert!(!pays(five, Kind::BFloat16, 90));
    for shape in
        [[16, 16, 7, 7], [16, 16, 1, 1], [16, 16, 5, 3], [16, 3, 3, 3], [16, 24, 3, 3], [3, 16, 3, 3]]
    {
        assert!(!pays(shape, Kind::Float, 90), "{shape:?}");
    }
}
