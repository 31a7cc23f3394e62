//! What a model file can say of one layer, as libtorch computes it: padding on either side, poolings in ceil mode,
//! averages that count padding, rows in either order, preprocessing per channel. And the derivative of each operation by
//! itself, in double precision.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        exec::{Executor, Manner},
        objective::BoundObjective,
    },
    max_ratio, objective,
};
use reverie_dream::{
    model::{Model, Preprocessing},
    spec::ObjectiveKind,
};
use reverie_graph::{Array, Network, Node, NodeId, Op, Padding, Window};

fn array(shape: &[usize], data: &Tensor) -> Array {
    let data: Vec<f32> = Vec::try_from(data.to_kind(Kind::Float).contiguous().view([-1])).unwrap();
    Array::new(shape.to_vec(), data).unwrap()
}

/// Operations one after the other, the first on the image, which comes as it is.
fn chain(ops: &[Op], preprocessing: Preprocessing) -> Arc<Model> {
    let mut nodes = vec![Node { name: "n0".into(), op: Op::Input { channels: 3 }, inputs: Vec::new() }];
    for (index, op) in ops.iter().enumerate() {
        let name = format!("n{}", index + 1);
        nodes.push(Node { name, op: op.clone(), inputs: vec![NodeId(index)] });
    }
    let last = format!("n{}", ops.len());
    let model = Model::of_network("chain", Network::new(nodes).unwrap(), &last, None);
    Arc::new(Model { preprocessing, ..model })
}

const PLAIN: Preprocessing = Preprocessing::uniform(0.0, 1.0);

/// What a chain gives for an image, on the kernels and on the library path.
fn outputs(ops: &[Op], preprocessing: Preprocessing, image: &Tensor) -> [Tensor; 2] {
    [false, true].map(|library| {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Float) };
        let model = chain(ops, preprocessing);
        let executor = Executor::with_manner(model, Device::Cpu, manner).unwrap();
        executor.forward(image, &[NodeId(ops.len())]).unwrap().remove(0)
    })
}

fn image(height: i64, width: i64) -> Tensor {
    tch::manual_seed(height * 1000 + width);
    Tensor::randn([1, 3, height, width], (Kind::Float, Device::Cpu))
}

#[test]
fn windows_with_explicit_padding_are_those_of_libtorch() {
    for (height, width) in [(13, 18), (14, 17), (7, 7)] {
        let x = image(height, width);
        for (kernel, stride, pad) in [(7, 2, 3), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 2, 1), (3, 3, 0)] {
            let padding = Padding::symmetric([pad as usize; 2]);
            let weight = Tensor::randn([16, 3, kernel, kernel], (Kind::Float, Device::Cpu));
            let conv = Op::Conv2d {
                weight: array(&[16, 3, kernel as usize, kernel as usize], &weight),
                bias: None,
                stride: [stride as usize; 2],
                dilation: [1, 1],
                padding,
                groups: 1,
            };
            let expected = x.conv2d(&weight, None::<Tensor>, [stride; 2], [pad; 2], [1, 1], 1);
            for found in outputs(&[conv], PLAIN, &x) {
                assert!(max_ratio(&found, &expected) < 1e-5);
            }
            // A pooling of libtorch pads by half a window at most.
            if 2 * pad > kernel {
                continue;
            }
            for ceil in [false, true] {
                let padding = Padding::Explicit { before: [pad as usize; 2], after: [pad as usize; 2], ceil };
                let window = Window { kernel: [kernel as usize; 2], stride: [stride as usize; 2], padding };
                let (kernel, stride, pad) = ([kernel; 2], [stride; 2], [pad; 2]);
                let expected = x.max_pool2d(kernel, stride, pad, [1, 1], ceil);
                for found in outputs(&[Op::MaxPool(window)], PLAIN, &x) {
                    assert_eq!(found, expected, "{window:?}");
                }
                for count_padding in [false, true] {
                    let expected = x.avg_pool2d(kernel, stride, pad, ceil, count_padding, None);
                    for found in outputs(&[Op::AvgPool { window, count_padding }], PLAIN, &x) {
                        let error = max_ratio(&found, &expected);
                        assert!(error < 1e-5, "{window:?}, padding counts: {count_padding}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn padding_of_two_sizes_is_padding_beforehand() {
    let x = image(12, 15);
    let (before, after) = ([2, 0], [1, 2]);
    let around = [before[1] as i64, after[1] as i64, before[0] as i64, after[0] as i64];
    let padded = x.f_pad(around, "constant", 0.0).unwrap();
    for found in outputs(&[Op::Pad { before, after }], PLAIN, &x) {
        assert_eq!(found, padded);
    }
    let weight = Tensor::randn([8, 3, 3, 3], (Kind::Float, Device::Cpu));
    for stride in [1, 2] {
        let conv = |padding| Op::Conv2d {
            weight: array(&[8, 3, 3, 3], &weight),
            bias: None,
            stride: [stride; 2],
            dilation: [1, 1],
            padding,
            groups: 1,
        };
        let expected = padded.conv2d(&weight, None::<Tensor>, [stride as i64; 2], [0, 0], [1, 1], 1);
        let explicit = conv(Padding::Explicit { before, after, ceil: false });
        let apart = [Op::Pad { before, after }, conv(Padding::Valid)];
        for found in outputs(&[explicit], PLAIN, &x).into_iter().chain(outputs(&apart, PLAIN, &x)) {
            assert!(max_ratio(&found, &expected) < 1e-5);
        }
    }
}

#[test]
fn rows_are_flattened_in_either_order() {
    let x = image(4, 5);
    for (channels_first, expected) in
        [(true, x.reshape([2, 30])), (false, x.permute([0, 2, 3, 1]).reshape([2, 30]))]
    {
        for found in outputs(&[Op::Flatten { features: 30, channels_first }], PLAIN, &x) {
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn channels_are_prepared_one_by_one() {
    let x = image(9, 11) * 40 + 120;
    for bgr in [false, true] {
        let preprocessing = Preprocessing { bgr, ..Preprocessing::imagenet() };
        let channel =
            |index: i64, mean: f64, deviation: f64| (x.narrow(1, index, 1) / 255.0 - mean) / deviation;
        let mut planes = vec![channel(0, 0.485, 0.229), channel(1, 0.456, 0.224), channel(2, 0.406, 0.225)];
        if bgr {
            planes.reverse();
        }
        let expected = Tensor::cat(&planes, 1);
        for found in outputs(&[Op::Identity], preprocessing, &x) {
            assert!(max_ratio(&found, &expected) < 1e-5);
        }
        // Its derivative, with weights that tell the channels apart.
        let scale = array(&[3], &Tensor::from_slice(&[1.0f32, 2.0, 3.0]));
        let ops = [Op::Scale { scale, bias: None }, Op::Swish];
        derivative_is_autograds(&ops, preprocessing, &x);
    }
    let uniform = |preprocessing: Preprocessing| preprocessing.as_uniform();
    assert_eq!(uniform(Preprocessing::uniform(117.0, 1.0)), Some((117.0, 1.0)));
    assert_eq!(uniform(Preprocessing { bgr: true, ..Preprocessing::uniform(117.0, 1.0) }), None);
    assert_eq!(uniform(Preprocessing::imagenet()), None);
}

/// What one value stands for is computed once; so it is one number, however large.
#[test]
fn a_repeated_weight_is_a_weight_of_equal_values() {
    tch::manual_seed(5);
    let conv = |weight| Op::Conv2d {
        weight,
        bias: None,
        stride: [1, 1],
        dilation: [1, 1],
        padding: Padding::Same,
        groups: 1,
    };
    let shape = vec![1000, 3, 1, 1];
    let [repeated, plain] =
        [Array::repeated(shape.clone(), 3e9), Array::new(shape, vec![3e9; 3000]).unwrap()]
            .map(|weight| outputs(&[conv(weight), Op::Relu], PLAIN, &image(5, 6)));
    for (one, all) in repeated.iter().zip(&plain) {
        let error = ((one - all).abs().max() / all.abs().max()).double_value(&[]);
        assert!(error < 1e-6, "{error}");
        assert!((one - one.narrow(1, 0, 1)).abs().max().double_value(&[]) == 0.0);
    }
}

fn derivative_is_autograds(ops: &[Op], preprocessing: Preprocessing, image: &Tensor) {
    let layer = format!("n{}", ops.len());
    for library in [false, true] {
        let manner = Manner { library_only: library, ..Manner::of(Kind::Double) };
        let executor = Executor::with_manner(chain(ops, preprocessing), Device::Cpu, manner).unwrap();
        let objective = objective(ObjectiveKind::L2, &layer, &[]);
        let bound = BoundObjective::new(executor.network(), std::slice::from_ref(&objective)).unwrap();
        // A batch: every image has its own derivative.
        let image = image.to_kind(Kind::Double);
        let (_, gradient) = bound.gradient(&executor, &image).unwrap();
        let leaf = image.set_requires_grad(true);
        let score = bound.score(&executor, &leaf).unwrap();
        let expected = Tensor::run_backward(&[&score], &[&leaf], false, false).remove(0);
        let error = (&gradient - &expected).norm() / expected.norm();
        let error = error.double_value(&[]);
        assert!(error < 1e-6, "{ops:?}, library {library}: {error}");
    }
}

#[test]
fn every_operation_has_its_derivative() {
    tch::manual_seed(4);
    let random = |shape: &[usize]| {
        let size: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        array(shape, &Tensor::randn(size, (Kind::Float, Device::Cpu)))
    };
    let explicit = |ceil| Padding::Explicit { before: [1, 0], after: [0, 2], ceil };
    let window = |ceil| Window { kernel: [3, 3], stride: [2, 2], padding: explicit(ceil) };
    let conv = |stride| Op::Conv2d {
        weight: random(&[8, 3, 3, 3]),
        bias: Some(random(&[8])),
        stride: [stride; 2],
        dilation: [1, 1],
        padding: explicit(false),
        groups: 1,
    };
    let depthwise = Op::Conv2d {
        weight: random(&[3, 1, 3, 3]),
        bias: None,
        stride: [2, 2],
        dilation: [1, 1],
        padding: explicit(false),
        groups: 3,
    };
    for ops in [
        vec![Op::Sigmoid],
        vec![Op::Swish],
        vec![Op::HardSwish],
        vec![Op::LeakyRelu { slope: 0.2 }],
        vec![Op::LeakyRelu { slope: 0.0 }],
        vec![Op::Clip { low: -0.5, high: 0.8 }],
        vec![Op::Clip { low: f32::NEG_INFINITY, high: 0.8 }],
        vec![Op::Scale { scale: random(&[3]), bias: Some(random(&[3])) }],
        vec![Op::Scale { scale: random(&[3]), bias: None }, Op::Sigmoid],
        vec![Op::Pad { before: [1, 2], after: [0, 3] }, Op::Sigmoid],
        vec![Op::GlobalAvgPool],
        vec![Op::SpatialMean, Op::AsMap, Op::Swish],
        vec![Op::Flatten { features: 9, channels_first: true }, Op::Softmax],
        vec![Op::Flatten { features: 9, channels_first: false }, Op::Softmax],
        vec![Op::MaxPool(window(false))],
        vec![Op::MaxPool(window(true))],
        vec![Op::AvgPool { window: window(true), count_padding: true }],
        vec![Op::AvgPool { window: window(true), count_padding: false }],
        vec![conv(1)],
        vec![conv(1), Op::ChannelShuffle { groups: 2 }, Op::Sigmoid],
        vec![conv(1), Op::SliceChannels { start: 3, channels: 4 }, Op::Sigmoid],
        vec![Op::SliceChannels { start: 1, channels: 1 }, Op::Swish],
        vec![
            Op::Conv2d {
                weight: Array::repeated(vec![5, 3, 3, 3], 0.02),
                bias: Some(random(&[5])),
                stride: [2, 2],
                dilation: [1, 1],
                padding: explicit(false),
                groups: 1,
            },
            Op::Sigmoid,
        ],
        vec![
            Op::Flatten { features: 9, channels_first: true },
            Op::MatMul { weight: Array::repeated(vec![9, 4], 0.02) },
            Op::BiasAdd { bias: random(&[4]) },
            Op::Softmax,
        ],
        vec![conv(2)],
        vec![depthwise],
    ] {
        for (height, width) in [(9, 12), (12, 15)] {
            derivative_is_autograds(&ops, PLAIN, &image(height, width));
        }
    }
}
