//! Whose memory kernels read and write: never the same in one call.

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        Conv1x1, PostOps, Pyramid,
        view::{floats, overlap},
    },
    *,
};

fn image() -> Tensor {
    Tensor::randn([1, 3, 8, 8], (Kind::Float, Device::Cpu))
}

fn equal(one: &Tensor, other: &Tensor) -> bool {
    one.f_equal(other).unwrap()
}

#[test]
fn tensors_overlap_where_their_memory_meets() {
    let all = Tensor::zeros([4, 6], (Kind::Float, Device::Cpu));
    let rows = |from, length| all.narrow(0, from, length);
    for (one, other, expected) in [
        (rows(0, 2), rows(2, 2), false),
        (rows(0, 2), rows(1, 2), true),
        (rows(3, 1), all.shallow_clone(), true),
        (all.shallow_clone(), Tensor::zeros([4, 6], (Kind::Float, Device::Cpu)), false),
        // Of an axis of extent 0 there is nothing.
        (all.narrow(0, 1, 0), all.shallow_clone(), false),
        // What lies between the values counts: columns of one matrix are not told apart.
        (all.narrow(1, 0, 2), all.narrow(1, 3, 2), true),
    ] {
        assert_eq!(overlap(&one, &other), expected);
        assert_eq!(overlap(&other, &one), expected);
    }
}

#[test]
fn nothing_is_read_of_a_tensor_without_values() {
    let none = Tensor::zeros([0, 3], (Kind::Float, Device::Cpu));
    assert_eq!(floats(&none), Some(&[][..]));
    let threads = thread_pool();
    assert_eq!(sum_abs(&threads, &none), Some(0.0));
    assert!(add_scaled(&threads, &none, &none.copy(), 1.0).unwrap());
}

#[test]
fn an_image_is_not_added_to_itself_by_a_kernel() {
    let (threads, image) = (thread_pool(), image());
    let before = image.copy();
    assert!(!add_scaled(&threads, &image, &image, 1.0).unwrap());
    let rows = image.narrow(2, 0, 4);
    assert!(!add_scaled(&threads, &rows, &rows.shallow_clone(), 1.0).unwrap());
    assert!(equal(&image, &before));
    assert!(add_scaled(&threads, &image, &before, 1.0).unwrap());
    assert!(equal(&image, &(before * 2.0)));
}

#[test]
fn a_level_of_the_pyramid_has_memory_of_its_own() {
    let (threads, image) = (thread_pool(), image());
    let mut pyramid = Pyramid::new(&image).unwrap();
    let half = pyramid.downsample(&threads).unwrap();
    // As large as a level, but of the image.
    let inside = image.reshape([-1]).narrow(0, 0, half.numel() as i64).reshape(half.size());
    let before = image.copy();
    assert!(pyramid.subtract_upsampled(&threads, &inside).is_err());
    assert!(pyramid.scale_and_add_upsampled(&threads, &inside, 1.0).is_err());
    assert!(equal(&image, &before));
    pyramid.subtract_upsampled(&threads, &half).unwrap();
    assert!(!equal(&image, &before));
}

#[test]
fn a_gradient_that_is_also_the_output_is_not_overwritten() {
    let threads = thread_pool();
    let y = random(16, 5, 5).relu_();
    let before = y.copy();
    let back = relu_backward(&threads, &y, 3.0, &y, true).unwrap().unwrap();
    assert!(equal(&y, &before));
    let inside = before.gt(0.0).logical_and(&before.lt(3.0));
    assert!(equal(&back, &(&before * inside)));
    // One that is not is.
    let gradient = random(16, 5, 5);
    let back = relu_backward(&threads, &y, 3.0, &gradient, true).unwrap().unwrap();
    assert_eq!(back.data_ptr(), gradient.data_ptr());
}

#[test]
fn a_sum_that_is_also_an_input_is_not_overwritten_while_it_is_read() {
    let threads = thread_pool();
    let window = Window { kernel: [3, 3], stride: [1, 1], padding: Padding::Same };
    let pool = pool_geometry([5, 5], window, false).unwrap();
    let (_, argmax) = max_pool_forward(&threads, &pool, &random(16, 5, 5)).unwrap().unwrap();
    let gradient = random(16, 5, 5);
    let alone = max_pool_backward(&threads, &pool, &gradient, &argmax, None).unwrap().unwrap();
    let expected = &alone + &gradient;
    let sum = Some(gradient.shallow_clone());
    let back = max_pool_backward(&threads, &pool, &gradient, &argmax, sum).unwrap().unwrap();
    assert!(equal(&back, &expected));

    let x = random(16, 5, 5);
    let before = x.copy();
    let weight = Tensor::randn([16, 16, 1, 1], (Kind::Float, Device::Cpu));
    // Only where there are fast kernels.
    let Some(weights) = Conv1x1::new(&weight).unwrap() else { return };
    let onto =
        |sum| weights.convolve(&threads, &x, PostOps { epilogue: Epilogue::NONE, sum, relu: None }).unwrap();
    assert!(onto(Some(&x)).is_none());
    assert!(equal(&x, &before));
    assert!(onto(Some(&x.copy())).is_some());
}
