//! Every implementation of a convolution against libtorch's.

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        super::{
            kernels::{ReluMask, thread_pool},
            library::{ConvParams, transposed},
        },
        Layout, Manner,
    },
    ConvAttributes, Convolution,
    onednn::{Activation, OneDnn},
    weight::Weight,
};
use reverie_graph::Padding;

fn map(shape: [i64; 4]) -> Tensor {
    Layout::ChannelsLast.arrange(&Tensor::randn(shape, (Kind::Float, Device::Cpu))).unwrap()
}

/// Whether results are the same but for the roundings of sums as large as `sums`, before anything limited them.
fn agree(ours: &Tensor, theirs: &Tensor, sums: &Tensor) {
    assert_eq!(ours.size(), theirs.size());
    let difference =
        (ours - theirs).abs().max().double_value(&[]) / sums.abs().max().double_value(&[]).max(1.0);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn onednn_is_called_only_in_versions_of_libtorch_that_are_known() {
    let here = OneDnn::get().copied();
    let version = |major: u64, minor: u64| Some(major << 56 | minor << 48 | 3 << 40 | 7);
    for unknown in
        [None, Some(0), version(2, 10), version(2, 12), version(3, 11), version(1, 11), Some(u64::MAX)]
    {
        let found = OneDnn::of_version(unknown, || panic!("looked up in {unknown:?}"));
        assert!(found.is_none());
    }
    // The one that is linked, whatever its patch: what is found there is used.
    assert_eq!(OneDnn::of_version(version(2, 11), || here).is_some(), here.is_some());
}

#[test]
fn one_pass_gives_what_several_give() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    assert!(OneDnn::get().is_some(), "this libtorch lacks oneDNN's convolutions");
    let threads = thread_pool();
    for (channels, out, edge, stride, groups) in [
        (3, 64, 7, 2, 1),
        (24, 40, 1, 1, 1),
        (24, 40, 1, 2, 1),
        (32, 32, 3, 1, 32),
        (17, 5, 3, 1, 1),
        (16, 32, 5, 2, 4),
        (32, 48, 3, 1, 1),
        (16, 16, 5, 1, 1),
    ] {
        let kernel = map([out, channels / groups, edge, edge]);
        let weight = Weight::new(&kernel, Manner::of(Kind::Float), false).unwrap();
        let bias = Tensor::randn([out], (Kind::Float, Device::Cpu));
        let params =
            ConvParams { stride: [stride, stride], padding: [edge / 2, edge / 2], dilation: [1, 1], groups };
        // More sizes in turn than weights are kept ready for.
        for index in (0..24).map(|index| index % 12) {
            let x = map([1 + index % 3, channels, 9 + index, 30 - index]);
            let plain = x.conv2d(&kernel, Some(&bias), params.stride, params.padding, [1, 1], groups);
            agree(
                &weight.convolve(&threads, &x, Some(&bias), params, Activation::None).unwrap(),
                &plain,
                &plain,
            );
        }
        for (height, width) in [(9, 14), (12, 12), (23, 7), (31, 16), (8, 8)] {
            let x = map([1, channels, height, width]);
            let plain = x.conv2d(&kernel, Some(&bias), params.stride, params.padding, [1, 1], groups);
            let convolve =
                |activation| weight.convolve(&threads, &x, Some(&bias), params, activation).unwrap();
            agree(&convolve(Activation::None), &plain, &plain);
            agree(&convolve(Activation::Relu), &plain.relu(), &plain);
            agree(&convolve(Activation::Relu6), &plain.clamp(0.0, 6.0), &plain);
            let alone = x.conv2d(&kernel, None::<Tensor>, params.stride, params.padding, [1, 1], groups);
            let (rows, columns) = (plain.size()[2], plain.size()[3]);
            // Also what a crop of a larger map has left.
            let larger = map([1, out, rows + 4, columns + 6]);
            for sum in [map([1, out, rows, columns]), larger.narrow(2, 1, rows).narrow(3, 2, columns)] {
                let expected = &sum + &alone;
                agree(&weight.convolve_onto(&threads, sum, &x, params).unwrap(), &expected, &expected);
            }
        }
    }
}

#[test]
fn the_backward_pass_includes_the_relu_where_it_says_so() {
    let threads = thread_pool();
    for (channels, out, edge, stride, groups) in
        [(24, 40, 1, 1, 1), (7, 9, 1, 1, 1), (24, 40, 1, 2, 1), (16, 16, 1, 1, 2), (32, 32, 3, 2, 32)]
    {
        let kernel = map([out, channels / groups, edge, edge]);
        let attributes = ConvAttributes {
            stride: [stride; 2],
            dilation: [1, 1],
            padding: Padding::Same,
            groups: groups as usize,
        };
        for (kind, limit) in [
            (Kind::Float, 6.0),
            (Kind::Float, f32::INFINITY),
            (Kind::BFloat16, 6.0),
            (Kind::BFloat16, f32::INFINITY),
        ] {
            let convolution =
                Convolution::new(&kernel.to_kind(kind), None, attributes, Manner::of(kind)).unwrap();
            let x = (map([2, channels, 13, 10]) * 4.0).clamp(0.0, f64::from(limit)).to_kind(kind);
            let y = convolution.forward(&threads, &x, None, Activation::None).unwrap();
            let gradient = map(y.size().try_into().unwrap()).to_kind(kind);
            let plain = convolution.backward(&threads, &gradient, [13, 10], None).unwrap();
            let expected = x.hardtanh_backward(&plain, 0.0, f64::from(limit));
            let relu = ReluMask { output: &x, limit };
            let through = convolution.backward_through_relu(&threads, &gradient, relu).unwrap();
            assert_eq!(through.is_some(), convolution.fuses_relu(&x).unwrap());
            if let Some(through) = through {
                agree(&through.to_kind(Kind::Float), &expected.to_kind(Kind::Float), &plain);
            }
        }
    }
}

#[test]
fn the_library_path_gives_what_our_own_kernels_give() {
    let threads = thread_pool();
    for (channels, out, edge, stride, groups) in [
        (32, 32, 3, 1, 32),
        (32, 32, 3, 2, 32),
        (32, 32, 5, 2, 32),
        (16, 16, 3, 3, 16),
        // Two kernels per channel.
        (24, 48, 3, 2, 24),
        (3, 64, 7, 2, 1),
        (16, 32, 1, 1, 1),
        (16, 32, 1, 2, 1),
    ] {
        let kernel = map([out, channels / groups, edge, edge]);
        let bias = Tensor::randn([out], (Kind::Float, Device::Cpu));
        for padding in [Padding::Same, Padding::Valid] {
            let attributes =
                ConvAttributes { stride: [stride; 2], dilation: [1, 1], padding, groups: groups as usize };
            let [own, library] = [false, true].map(|library| {
                let manner = Manner { library_only: library, ..Manner::of(Kind::Float) };
                Convolution::new(&kernel, Some(bias.shallow_clone()), attributes, manner).unwrap()
            });
            for (height, width) in [(13, 10), (16, 16), (9, 22), (7, 7)] {
                let x = map([2, channels, height, width]);
                let forward = |one: &Convolution| one.forward(&threads, &x, None, Activation::Relu6).unwrap();
                let y = forward(&library);
                agree(&y, &forward(&own), &forward(&own));
                let gradient = map(y.size().try_into().unwrap());
                let size = [height, width];
                let plain = own.backward(&threads, &gradient, size, None).unwrap();
                let back = library.backward(&threads, &gradient, size, None).unwrap();
                agree(&back, &plain, &plain);
                let sum = map([2, channels, height, width]);
                let onto = library.backward(&threads, &gradient, size, Some(sum.copy())).unwrap();
                agree(&onto, &(plain + sum), &onto);
                // What follows wants channels-last memory.
                for map in [y, back, onto] {
                    assert!(
                        map.permute([0, 2, 3, 1]).is_contiguous(),
                        "{channels} {edge} {stride} {padding:?}"
                    );
                }
                assert!(!library.fuses_relu(&x).unwrap());
            }
        }
    }
}

/// Maps of a few rows and columns in bfloat16, whatever lay in memory before: oneDNN has read beyond some of them.
#[test]
fn small_maps_are_convolved_without_what_lies_beside_them() {
    let threads = thread_pool();
    tch::manual_seed(17);
    let kernels = [
        (3, 32, 3, 2),
        (3, 64, 7, 2),
        (3, 64, 11, 4),
        (3, 96, 4, 4),
        (1, 32, 3, 2),
        (64, 64, 3, 2),
        (32, 64, 1, 2),
        (3, 64, 3, 1),
        (32, 16, 2, 1),
        (32, 16, 1, 1),
        (64, 192, 3, 1),
    ];
    let dirty = || drop(Tensor::full([1 << 20], f64::NAN, (Kind::Float, Device::Cpu)));
    let float = |half: &Tensor| half.to_kind(Kind::Float);
    let error = |found: &Tensor, expected: &Tensor| {
        assert_eq!(found.size(), expected.size());
        let largest = |x: Tensor| x.abs().max().double_value(&[]);
        largest(float(found) - expected) / largest(expected.shallow_clone()).max(1.0)
    };
    for ((channels, out, edge, stride), library_only) in
        kernels.into_iter().flat_map(|kernel| [(kernel, false), (kernel, true)])
    {
        let manner = Manner { library_only, ..Manner::of(Kind::BFloat16) };
        let plain = map([out, channels, edge, edge]).to_kind(Kind::BFloat16);
        let weight = Weight::new(&plain, manner, false).unwrap();
        let bias = Tensor::randn([out], (Kind::BFloat16, Device::Cpu));
        let (strides, padding) = ([stride; 2], [edge / 2; 2]);
        let params = ConvParams { stride: strides, padding, ..ConvParams::PLAIN };
        for (height, width) in
            [1, 2, 5, 90].into_iter().flat_map(|n| (1..8).flat_map(move |m| [(n, m), (m, n)]))
        {
            let x = map([1, channels, height, width]).to_kind(Kind::BFloat16);
            let there = float(&x).conv2d(&float(&plain), Some(&float(&bias)), strides, padding, [1, 1], 1);
            dirty();
            let y = weight.convolve(&threads, &x, Some(&bias), params, Activation::None).unwrap();
            let case = format!(
                "{channels} to {out}, {edge}, stride {stride}, {height}×{width}, library {library_only}"
            );
            assert!(error(&y, &there) < 0.02, "{case}: {}", error(&y, &there));
            let back = float(&y).conv_transpose2d(
                &float(&plain),
                None::<Tensor>,
                strides,
                padding,
                [0, 0],
                1,
                [1, 1],
            );
            if back.numel() == 0 {
                continue;
            }
            dirty();
            let found = transposed(&y, &plain, params, [0, 0], false).unwrap();
            assert!(error(&found, &back) < 0.02, "back, {case}: {}", error(&found, &back));
        }
    }
}
