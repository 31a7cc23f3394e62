//! The kernels against libtorch's own operations.

mod conv1x1;
mod memory;
mod winograd;

use reverie_kernels::{ConvShape, InstructionSet, LrnParams};
use tch::{Device, Kind, Tensor};

use super::{
    Depthwise, Epilogue, ReluMask, SavedLrn, add_scaled, available, instruction_set, lrn_backward,
    lrn_forward, max_pool_backward, max_pool_forward, pixel_shuffle, pool_geometry, prepare, relu_backward,
    sum_abs, thread_pool,
};
use reverie_graph::{Padding, Window};

fn random(channels: i64, height: i64, width: i64) -> Tensor {
    // Few different values, so that maxima have equals.
    let map = Tensor::randint(9, [1, height, width, channels], (Kind::Float, Device::Cpu)) - 4;
    map.permute([0, 3, 1, 2])
}

/// A map and its passes as a ReLU leaves them, if there is one.
fn relu_if(relu: bool, mut map: Tensor, leaf: &Tensor) -> (Tensor, Tensor) {
    // In place, which keeps the layout in memory.
    if relu { (map.relu_(), leaf.relu()) } else { (map, leaf.shallow_clone()) }
}

/// What the kernels run over. The values of [`random`] and their sums are the same in both.
const KINDS: [Kind; 2] = [Kind::Float, Kind::BFloat16];

fn agree(ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!(ours.size(), theirs.size());
    let difference = (ours.to_kind(Kind::Float) - theirs.to_kind(Kind::Float)).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "{difference}");
}

#[test]
fn maxima_and_their_gradients_are_libtorchs() {
    let threads = thread_pool();
    for channels in [1, 5, 37, 64, 96, 97] {
        for (height, width) in [(1, 1), (7, 9), (12, 5)] {
            for (stride, through_relu) in [(1, false), (2, false), (1, true), (2, true)] {
                let x = random(channels, height, width);
                let leaf = x.copy().set_requires_grad(true);
                let (x, input) = relu_if(through_relu, x, &leaf);
                let window = Window { kernel: [3, 3], stride: [stride, stride], padding: Padding::Same };
                let pool = pool_geometry([height, width], window, through_relu).unwrap();
                // TensorFlow's padding, written out.
                let pads = [0, 1].map(|axis| {
                    let n = pool.input[axis];
                    let (_, before, after) = Padding::Same.resolve(axis, n, 3, stride).unwrap();
                    [before as i64, after as i64]
                });
                let around = [pads[1][0], pads[1][1], pads[0][0], pads[0][1]];
                let padded = input.f_pad(around, "constant", f64::NEG_INFINITY).unwrap();
                let strides = [stride as i64; 2];
                let theirs = padded.max_pool2d([3, 3], strides, [0, 0], [1, 1], false);
                let maxima = theirs.detach();
                let gradient = random(channels, maxima.size()[2], maxima.size()[3]);
                (theirs * &gradient).sum(Kind::Float).backward();
                for kind in KINDS {
                    let (y, argmax) = max_pool_forward(&threads, &pool, &x.to_kind(kind)).unwrap().unwrap();
                    agree(&y, &maxima, 0.0);
                    let gradient = gradient.to_kind(kind);
                    let back =
                        |sum| max_pool_backward(&threads, &pool, &gradient, &argmax, sum).unwrap().unwrap();
                    agree(&back(None), &leaf.grad(), 0.0);
                    // On top of what other readers hand on, wherever that lies in memory.
                    let other = random(channels, height, width).to_kind(kind);
                    let both = leaf.grad() + &other;
                    agree(&back(Some(other.copy().contiguous())), &both, 0.0);
                    agree(&back(Some(other)), &both, 0.0);
                }
            }
        }
    }
}

#[test]
fn normalised_responses_and_their_gradients_are_libtorchs() {
    let threads = thread_pool();
    for channels in [1, 3, 17, 64] {
        for (radius, beta, through_relu) in
            [(2, 0.75, false), (5, 0.5, false), (1, 0.6, true), (2, 0.75, true)]
        {
            let params = LrnParams { radius, bias: 1.5, alpha: 0.02, beta };
            let x = random(channels, 4, 3);
            let leaf = x.copy().set_requires_grad(true);
            let (x, input) = relu_if(through_relu, x, &leaf);
            // libtorch divides by the number of neighbours.
            let size = 2 * radius as i64 + 1;
            let theirs = local_response_norm(&input, size, 0.02, f64::from(beta), 1.5);
            let expected = theirs.detach();
            let gradient = random(channels, 4, 3);
            (theirs * &gradient).sum(Kind::Float).backward();
            for (kind, tolerance) in KINDS.into_iter().zip([1e-5, 2e-2]) {
                let (x, gradient) = (x.to_kind(kind), gradient.to_kind(kind));
                agree(&lrn_forward(&threads, params, &x).unwrap().unwrap(), &expected, tolerance);
                let saved = SavedLrn { x, through_relu };
                let back = lrn_backward(&threads, params, &saved, &gradient).unwrap().unwrap();
                agree(&back, &leaf.grad(), tolerance);
            }
        }
    }
}

#[test]
fn depthwise_convolutions_and_their_gradients_are_libtorchs() {
    if !instruction_set().has_fma() {
        return;
    }
    let threads = thread_pool();
    for (channels, edge, stride) in [(16, 3, 1), (48, 3, 2), (32, 5, 1), (16, 5, 2), (32, 2, 3), (16, 3, 4)] {
        for (height, width) in [(1, 1), (7, 9), (12, 5), (23, 40)] {
            // Small whole numbers: what is summed up is exact in both kinds.
            let draw = |shape: [i64; 4]| Tensor::randint(5, shape, (Kind::Float, Device::Cpu)) - 2;
            let weight = draw([channels, 1, edge, edge]);
            let bias = draw([1, 1, 1, channels]).reshape([channels]);
            let depthwise = Depthwise::new(&weight, channels as usize).unwrap().unwrap();
            let extents = [height, width].map(|n| n as usize);
            let [rows, columns] =
                extents.map(|n| Padding::Same.resolve(0, n, edge as usize, stride as usize).unwrap());
            let shape = ConvShape {
                stride: [stride as usize; 2],
                before: [rows.1, columns.1],
                input: extents,
                output: [rows.0, columns.0],
            };
            let x = random(channels, height, width).clamp_(0.0, 3.0);
            let leaf = x.copy().set_requires_grad(true);
            let around = [columns.1, columns.2, rows.1, rows.2].map(|n| n as i64);
            let padded = leaf.constant_pad_nd(around);
            let theirs = padded.conv2d(&weight, Some(&bias), [stride; 2], [0, 0], [1, 1], channels);
            let expected = theirs.detach();
            let gradient = random(channels, rows.0 as i64, columns.0 as i64);
            (theirs * &gradient).sum(Kind::Float).backward();
            let plain = leaf.grad();
            let through_relu = x.hardtanh_backward(&plain, 0.0, 3.0);
            for kind in KINDS {
                let (x, bias, gradient) = (x.to_kind(kind), bias.to_kind(kind), gradient.to_kind(kind));
                let forward = |epilogue| depthwise.forward(&threads, &x, shape, epilogue).unwrap().unwrap();
                agree(&forward(Epilogue { bias: Some(&bias), ..Epilogue::NONE }), &expected, 0.0);
                let limited = Epilogue { bias: Some(&bias), low: 0.0, high: 6.0 };
                agree(&forward(limited), &expected.clamp(0.0, 6.0), 0.0);
                let back = |relu| depthwise.backward(&threads, &gradient, shape, relu).unwrap().unwrap();
                agree(&back(None), &plain, 0.0);
                agree(&back(Some(ReluMask { output: &x, limit: 3.0 })), &through_relu, 0.0);
                // Batches, and NaN.
                let pair = |map: &Tensor| Tensor::cat(&[map.flip([0]), map.shallow_clone()], 0);
                let both = pair(&x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]);
                let second = depthwise
                    .forward(&threads, &both, shape, Epilogue::NONE)
                    .unwrap()
                    .unwrap()
                    .narrow(0, 1, 1);
                agree(&second, &forward(Epilogue::NONE), 0.0);
                let bad = x.full_like(f64::NAN);
                let shown = depthwise.forward(&threads, &bad, shape, limited).unwrap().unwrap();
                assert_eq!(shown.isnan().all().int64_value(&[]), 1);
            }
        }
    }
    assert!(Depthwise::new(&Tensor::zeros([24, 1, 3, 3], (Kind::Float, Device::Cpu)), 24).unwrap().is_none());
    assert!(Depthwise::new(&Tensor::zeros([32, 1, 3, 3], (Kind::Float, Device::Cpu)), 16).unwrap().is_none());
}

#[test]
fn gradients_of_relus_are_libtorchs() {
    let threads = thread_pool();
    for channels in [1, 19, 64] {
        let map = |kind, channels| random(channels, 9, 16).to_kind(kind);
        let maps =
            KINDS.map(|kind| (map(kind, channels).relu_(), map(kind, 2 * channels), map(kind, channels)));
        let gradients = maps.iter().flat_map(|(y, all, dense)| {
            let part = all.narrow(1, 1, channels);
            [(y, dense.shallow_clone(), false), (y, part, false), (y, dense.shallow_clone(), true)]
        });
        for (y, gradient, owned) in gradients {
            let gradient = &gradient;
            let theirs = y.threshold_backward(gradient, 0.0);
            let theirs6 = y.hardtanh_backward(gradient, 0.0, 3.0);
            let copy = gradient.copy();
            let ours = |limit| relu_backward(&threads, y, limit, gradient, owned).unwrap().unwrap();
            agree(&ours(f32::INFINITY), &theirs, 0.0);
            agree(&ours(3.0), &theirs6, 0.0);
            if !owned {
                agree(gradient, &copy, 0.0);
            }
        }
    }
}

#[test]
fn phases_join_as_libtorch_shuffles_pixels() {
    let threads = thread_pool();
    for (channels, top, left) in [(3, 0, 0), (3, 2, 3), (1, 3, 2)] {
        let all = random(16, 6, 70);
        let shuffled = all.narrow(1, 0, 4 * channels).pixel_shuffle(2).f_pad([0, 8, 0, 8], "constant", 0.0);
        // Some rows and columns are cut off, others lie beyond what there is.
        for (height, width) in [(7, 120), (11, 140)] {
            let theirs = shuffled.as_ref().unwrap().narrow(2, top, height).narrow(3, left, width);
            for kind in KINDS {
                let map = all.to_kind(kind);
                let ours = pixel_shuffle(&threads, &map, channels as usize, [top, left], [height, width]);
                agree(&ours.unwrap().unwrap(), &theirs, 0.0);
            }
        }
    }
}

#[test]
fn images_are_prepared_and_changed_as_libtorch_does_it() {
    let threads = thread_pool();
    let all = Tensor::randn([2, 3, 40, 131], (Kind::Float, Device::Cpu)) * 100.0;
    // As it is, a part of it, and something so small that one thread does it.
    for (row, column, height, width) in [(0, 0, 40, 131), (3, 7, 30, 120), (5, 5, 1, 1)] {
        let part = all.narrow(2, row, height).narrow(3, column, width);
        let expected = (&part - 117.0) * 0.5;
        for (kind, tolerance) in KINDS.into_iter().zip([1e-5, 1.0]) {
            let ours = prepare(&threads, &part, 117.0, 0.5, kind).unwrap().unwrap();
            assert_eq!((ours.kind(), ours.stride()[1]), (kind, 1));
            agree(&ours, &expected, tolerance);
        }
        let plain = part.contiguous();
        let magnitude = sum_abs(&threads, &plain).unwrap();
        let theirs = plain.abs().sum(Kind::Double).double_value(&[]);
        assert!((magnitude - theirs).abs() <= 1e-9 * theirs);
        let gradient = Tensor::randn_like(&plain);
        let further = &plain + &gradient * 1.5;
        assert!(add_scaled(&threads, &plain, &gradient, 1.5).unwrap());
        agree(&plain, &further, 1e-4);
    }
    assert!(!add_scaled(&threads, &all, &all.narrow(0, 0, 1), 1.0).unwrap());
}

#[test]
fn instruction_sets_are_chosen_by_names_that_the_processor_knows() {
    for set in InstructionSet::ALL {
        assert_eq!(available(&set.to_string()).is_ok(), set.is_available());
    }
    assert_eq!(available("plain"), Ok(InstructionSet::Plain));
    assert!(available("sse").unwrap_err().contains("use plain, avx2"));
    assert_eq!(thread_pool().instruction_set(), instruction_set());
}

#[test]
fn a_loop_runs_every_row_once_on_any_number_of_threads() {
    let threads = thread_pool();
    for rows in [0, 1, 2, 7, 5000] {
        let mut map = vec![0u32; rows * 3];
        threads.split(&mut map, 3, |first, stretch| {
            for (index, row) in stretch.chunks_exact_mut(3).enumerate() {
                row.iter_mut().for_each(|value| *value += (first + index) as u32 + 1);
            }
        });
        let expected: Vec<u32> = (0..rows as u32).flat_map(|row| [row + 1; 3]).collect();
        assert_eq!(map, expected);
    }
}

#[test]
#[should_panic(expected = "row 4999")]
fn a_panic_in_a_loop_comes_out_of_it() {
    let mut map = vec![0u32; 5000 * 3];
    thread_pool().split(&mut map, 3, |first, stretch| {
        let last = first + stretch.len() / 3 - 1;
        assert!(last != 4999, "row {last}");
    });
}

/// Sums over neighbours as a mean of so many, as libtorch's function of the same name computes them.
fn local_response_norm(x: &Tensor, size: i64, alpha: f64, beta: f64, bias: f64) -> Tensor {
    let squares = x.square().unsqueeze(1);
    let padded = squares.f_pad([0, 0, 0, 0, size / 2, size / 2], "constant", 0.0).unwrap();
    let means =
        padded.avg_pool3d([size, 1, 1], [1, 1, 1], [0, 0, 0], false, true, None::<i64>).squeeze_dim(1);
    x * (means * (size as f64 * alpha) + bias).pow_tensor_scalar(-beta)
}
