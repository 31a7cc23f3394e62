//! The kernels, value by value on the CPU, beside the CPU's own.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    path::Path,
};

use reverie_graph::{Padding, Window};
use reverie_kernels::{ConvShape, LrnParams, ValueKind};
use tch::{Device, Kind, Tensor};

use super::{
    super::super::{
        kernels::{self, Epilogue, ReluMask, SavedLrn, pool_geometry, thread_pool},
        laplacian::Laplacian,
    },
    GpuDepthwise, GpuKernels,
    launch::Launch,
    nvrtc::Nvrtc,
    program::{ProgramKey, Source},
};

#[allow(unsafe_code, reason = "declares a function of C++")]
unsafe extern "C" {
    /// In `host.cpp`.
    fn reverie_host_launch(
        name: *const c_char,
        bfloat16: c_int,
        width: c_int,
        grid: *const u32,
        block: u32,
        arguments: *mut *mut c_void,
    ) -> c_int;
}

/// Runs a kernel here.
pub(super) fn run(launch: &Launch, block: u32, arguments: &mut [*mut c_void]) {
    let name = CString::new(launch.kernel).unwrap();
    let bfloat16 = c_int::from(launch.program.kind == ValueKind::Bf16);
    #[allow(unsafe_code, reason = "calls C++")]
    // SAFETY: the arguments are those of the kernel, as for a GPU.
    let code = unsafe {
        let width = launch.program.width as c_int;
        reverie_host_launch(
            name.as_ptr(),
            bfloat16,
            width,
            launch.grid.as_ptr(),
            block,
            arguments.as_mut_ptr(),
        )
    };
    assert_eq!(code, 0, "there is no {}", launch.kernel);
}

/// NVRTC, where `scripts/test-servers` has fetched it.
fn nvrtc() -> Option<Nvrtc> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.test-servers/nvrtc/nvidia/cu13/lib/libnvrtc.so.13");
    path.exists().then(|| Nvrtc::open(&path).unwrap())
}

#[test]
fn every_program_compiles_for_old_and_new_gpus() {
    let Some(nvrtc) = nvrtc() else {
        println!("skipped: NVRTC is not there (scripts/test-servers fetches it)");
        assert!(std::env::var_os("CI").is_none(), "it has to be there");
        return;
    };
    let window = Some([3, 3, 2, 2]);
    for (source, sizes, width) in [
        (Source::MaxPool, window, 1),
        (Source::MaxPool, window, 4),
        (Source::Depthwise, window, 1),
        (Source::Lrn, None, 1),
        (Source::Epilogue, None, 4),
        (Source::Pyramid, None, 1),
    ] {
        for kind in [ValueKind::F32, ValueKind::Bf16] {
            let program = ProgramKey { source, kind, sizes, width };
            for capability in [[7, 5], [9, 0], [12, 0]] {
                let code = nvrtc.compile(source.text(), &program.options(capability)).unwrap();
                assert!(code.starts_with(b"\x7fELF"), "{program:?}");
            }
        }
    }
    let refused = nvrtc.compile("no program", &[]).unwrap_err();
    assert!(refused.contains("error"), "{refused}");
}

fn map(shape: [i64; 4], kind: Kind) -> Tensor {
    let [images, channels, rows, columns] = shape;
    let values = Tensor::randn([images, rows, columns, channels], (Kind::Float, Device::Cpu));
    values.to_kind(kind).permute([0, 3, 1, 2])
}

/// Fails unless two maps of one kind are alike to so many rounding errors of it.
fn alike(found: &Tensor, expected: &Tensor, roundings: f64, what: &str) {
    assert_eq!((found.kind(), found.size()), (expected.kind(), expected.size()), "{what}");
    let unit = if found.kind() == Kind::BFloat16 { 1.0 / 256.0 } else { f64::from(f32::EPSILON) };
    let [found, expected] = [found, expected].map(|map| map.to_kind(Kind::Double));
    let scale = expected.abs().max().double_value(&[]);
    let worst = (found - expected).abs().max().double_value(&[]);
    assert!(worst <= roundings * unit * scale, "{what}: {worst:e} of {scale}");
}

const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

#[test]
fn max_pooling_is_that_of_the_processor() {
    tch::manual_seed(1);
    let (gpu, threads) = (GpuKernels::on_host(), thread_pool());
    let explicit = |n| Padding::Explicit { before: [n, n], after: [n, n], ceil: false };
    for (kernel, stride, padding) in [
        ([3, 3], [2, 2], Padding::Same),
        ([3, 3], [1, 1], Padding::Same),
        ([2, 2], [2, 2], Padding::Valid),
        ([3, 2], [2, 3], explicit(1)),
        ([5, 5], [3, 3], explicit(2)),
    ] {
        for (size, channels, kind) in [
            ([17, 23], 19, Kind::Float),
            ([9, 12], 20, Kind::Float),
            ([8, 9], 19, Kind::BFloat16),
            ([7, 8], 8, Kind::BFloat16),
        ] {
            for through_relu in [false, true] {
                let what = format!("{kernel:?} {stride:?} {padding:?} {channels} {kind:?} {through_relu}");
                let x = map([2, channels, size[0], size[1]], kind);
                let pool = pool_geometry(size, Window { kernel, stride, padding }, through_relu).unwrap();
                let (y, argmax) = gpu.max_pool_forward(&pool, &x).unwrap().unwrap();
                let (expected, places) = kernels::max_pool_forward(&threads, &pool, &x).unwrap().unwrap();
                assert_eq!((&y, &argmax), (&expected, &places), "{what}");
                let gradient = map(<[i64; 4]>::try_from(y.size()).unwrap(), kind);
                let sum = map([2, channels, size[0], size[1]], kind);
                for sum in [None, Some(sum)] {
                    let own = sum.as_ref().map(Tensor::copy);
                    let back = gpu.max_pool_backward(&pool, &gradient, &argmax, own).unwrap().unwrap();
                    let own = sum.as_ref().map(Tensor::copy);
                    let expected = kernels::max_pool_backward(&threads, &pool, &gradient, &places, own)
                        .unwrap()
                        .unwrap();
                    alike(&back, &expected, 2.0, &what);
                }
            }
        }
    }
}

#[test]
fn a_maximum_that_is_no_number_stays_none() {
    let pool = pool_geometry([5, 5], Window { kernel: [3, 3], stride: [1, 1], padding: Padding::Same }, true);
    let pool = pool.unwrap();
    let x = map([1, 3, 5, 5], Kind::Float);
    drop(x.narrow(2, 2, 1).narrow(3, 2, 1).fill_(f64::NAN));
    let (y, argmax) = GpuKernels::on_host().max_pool_forward(&pool, &x).unwrap().unwrap();
    let (expected, places) = kernels::max_pool_forward(&thread_pool(), &pool, &x).unwrap().unwrap();
    assert_eq!(y.isnan().sum(Kind::Int64).int64_value(&[]), 27);
    assert_eq!((y.nan_to_num(7.0, 0.0, 0.0), argmax), (expected.nan_to_num(7.0, 0.0, 0.0), places));
}

#[test]
fn normalisation_is_that_of_the_processor() {
    tch::manual_seed(2);
    let (gpu, threads) = (GpuKernels::on_host(), thread_pool());
    for (radius, bias, alpha, beta) in [(5, 2.0, 0.1, 0.5), (2, 1.0, 0.2, 0.75), (40, 1.5, 0.3, 0.6)] {
        let params = LrnParams { radius, bias, alpha, beta };
        for kind in KINDS {
            let (x, gradient) = (map([2, 21, 7, 9], kind), map([2, 21, 7, 9], kind));
            let what = format!("{params:?} {kind:?}");
            let y = gpu.lrn_forward(params, &x).unwrap().unwrap();
            alike(&y, &kernels::lrn_forward(&threads, params, &x).unwrap().unwrap(), 8.0, &what);
            for through_relu in [false, true] {
                let saved = SavedLrn { x: x.shallow_clone(), through_relu };
                let back = gpu.lrn_backward(params, &saved, &gradient).unwrap().unwrap();
                let expected = kernels::lrn_backward(&threads, params, &saved, &gradient).unwrap().unwrap();
                alike(&back, &expected, 16.0, &what);
            }
        }
    }
}

#[test]
fn depthwise_convolutions_are_those_of_libtorch() {
    tch::manual_seed(3);
    let gpu = GpuKernels::on_host();
    for (kernel, stride, before) in [
        ([3, 3], [1, 1], [1, 1]),
        ([3, 3], [2, 2], [0, 1]),
        ([5, 5], [1, 1], [2, 2]),
        ([5, 3], [2, 3], [2, 0]),
    ] {
        for kind in KINDS {
            let what = format!("{kernel:?} {stride:?} {before:?} {kind:?}");
            let input = [14usize, 19];
            let output =
                [0, 1].map(|axis| (input[axis] + before[axis] + 1 - kernel[axis]) / stride[axis] + 1);
            let shape = ConvShape { stride, before, input, output };
            let weight =
                Tensor::randn([20, 1, kernel[0] as i64, kernel[1] as i64], (Kind::Float, Device::Cpu));
            let weight = weight.to_kind(kind);
            let depthwise = GpuDepthwise::new(gpu, &weight, 20).unwrap().unwrap();
            let x = map([2, 20, input[0] as i64, input[1] as i64], kind);
            let bias = Tensor::randn([20], (Kind::Float, Device::Cpu)).to_kind(kind);
            // One more row and column after than the windows need is cut off again.
            let exact = |map: &Tensor| map.to_kind(Kind::Double);
            let leaf = exact(&x).set_requires_grad(true);
            let [top, left] = before.map(|n| n as i64);
            let ints = |pair: [usize; 2]| pair.map(|n| n as i64);
            let y = leaf.constant_pad_nd([left, 1, top, 1]).conv2d(
                &exact(&weight),
                Some(&exact(&bias)),
                ints(stride),
                [0, 0],
                [1, 1],
                20,
            );
            let [rows, columns] = ints(output);
            let y = y.narrow(2, 0, rows).narrow(3, 0, columns);
            let epilogue = Epilogue { bias: Some(&bias), low: 0.0, high: 1.5 };
            let found = depthwise.forward(&x, shape, epilogue).unwrap().unwrap();
            alike(&found, &y.detach().clamp(0.0, 1.5).to_kind(kind), 16.0, &what);
            let free = depthwise.forward(&x, shape, Epilogue::NONE).unwrap().unwrap();
            let unbiased = (y.detach() - exact(&bias).reshape([1, 20, 1, 1])).to_kind(kind);
            alike(&free, &unbiased, 16.0, &what);

            let gradient = map([2, 20, rows, columns], kind);
            let expected =
                Tensor::run_backward(&[(y * exact(&gradient)).sum(Kind::Double)], &[&leaf], false, false);
            let found = depthwise.backward(&gradient, shape, None).unwrap().unwrap();
            alike(&found, &expected[0].to_kind(kind), 16.0, &what);
            let relu = map([2, 20, input[0] as i64, input[1] as i64], kind).clamp(0.0, 1.0);
            let mask = ReluMask { output: &relu, limit: 1.0 };
            let found = depthwise.backward(&gradient, shape, Some(mask)).unwrap().unwrap();
            let passes = relu.gt(0.0).logical_and(&relu.lt(1.0));
            alike(&found, &(&expected[0] * passes).to_kind(kind), 16.0, &what);
        }
    }
}

#[test]
fn what_follows_a_convolution_is_a_bias_and_limits() {
    tch::manual_seed(5);
    let gpu = GpuKernels::on_host();
    for channels in [6, 8] {
        for kind in KINDS {
            let (y, bias) = (map([2, channels, 5, 7], kind), Tensor::randn([channels], (kind, Device::Cpu)));
            for bias in [None, Some(&bias)] {
                let (low, high) = (-0.5, 1.0);
                let own = y.copy();
                assert!(gpu.epilogue(&own, Epilogue { bias, low, high }).unwrap());
                let exact = y.to_kind(Kind::Float);
                let sum = bias.map_or(exact.shallow_clone(), |bias| {
                    exact + bias.to_kind(Kind::Float).reshape([1, channels, 1, 1])
                });
                let expected = sum.clamp(f64::from(low), f64::from(high)).to_kind(kind);
                alike(&own, &expected, 0.0, &format!("{channels} {kind:?}"));
            }
        }
    }
    let of_another_kind = Tensor::randn([8], (Kind::Double, Device::Cpu));
    let epilogue = Epilogue { bias: Some(&of_another_kind), low: 0.0, high: 6.0 };
    assert!(!gpu.epilogue(&map([1, 8, 4, 4], Kind::Float), epilogue).unwrap());
}

#[test]
fn the_pyramid_is_that_of_the_processor() {
    tch::manual_seed(4);
    let gpu = Laplacian::new(Device::Cpu, true, Some(GpuKernels::on_host())).unwrap();
    let own = Laplacian::new(Device::Cpu, false, None).unwrap();
    for (height, width) in [(1, 1), (1, 2), (2, 1), (3, 3), (5, 4), (17, 40), (131, 290)] {
        let image = Tensor::randn([1, 3, height, width], (Kind::Float, Device::Cpu));
        let (found, expected) = (image.copy(), image.copy());
        gpu.normalize(&found, 3).unwrap();
        own.normalize(&expected, 3).unwrap();
        alike(&found, &expected, 64.0, &format!("{height}×{width}"));
    }
}

#[test]
fn maps_that_begin_at_any_value_are_computed_one_by_one() {
    let gpu = GpuKernels::on_host();
    let pool =
        pool_geometry([1, 1], Window { kernel: [3, 3], stride: [1, 1], padding: Padding::Same }, false);
    let part = map([1, 9, 1, 1], Kind::Float).narrow(1, 1, 8);
    let (y, _) = gpu.max_pool_forward(&pool.unwrap(), &part).unwrap().unwrap();
    assert_eq!(y, part);
    assert_eq!([super::launch::width(8, &[&part]), super::launch::width(8, &[&y])], [1, 4]);
}

#[test]
fn maps_that_lie_otherwise_are_left_to_libtorch() {
    let gpu = GpuKernels::on_host();
    let params = LrnParams { radius: 2, bias: 1.0, alpha: 0.1, beta: 0.5 };
    let contiguous = Tensor::randn([1, 8, 6, 6], (Kind::Float, Device::Cpu));
    assert!(gpu.lrn_forward(params, &contiguous).unwrap().is_none());
    let double = map([1, 8, 6, 6], Kind::Float).to_kind(Kind::Double);
    assert!(gpu.lrn_forward(params, &double).unwrap().is_none());
    let part = map([1, 16, 6, 6], Kind::Float).narrow(1, 0, 8);
    assert!(gpu.lrn_forward(params, &part).unwrap().is_none());
}
