//! The renderer against other programs ([`references`], [`torchvision`]), against autograd on networks of any wiring ([`graphs`]), against
//! libtorch's own layers ([`layers`]) and against what must always hold ([`properties`]); what it takes from a guide image
//! ([`guides`]), what it does with channels that are picked and places ([`objectives`]), how it moves ([`motion`]) and changes on its way
//! ([`schedules`]), and how it ends ([`ending`]).

mod ending;
mod graphs;
mod guides;
mod layers;
mod memory;
mod motion;
mod objectives;
mod properties;
mod references;
mod schedules;
mod torchvision;

use std::sync::Arc;

use bytes::Bytes;
use tch::Tensor;

use reverie_dream::model::{Model, Preprocessing};
use reverie_dream::spec::{
    Count, DreamSpec, Encoding, Format, Objective, ObjectiveKind, Parametrization, Precision, Preset,
};
use reverie_graph::{Array, Network, Node, NodeId, Op, Padding, Window};
use reverie_picture::{Picture, Samples};

/// `max |Δ| / max |expected|`.
fn max_ratio(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.size(), expected.size());
    let ratio = (actual - expected).abs().max() / expected.abs().max();
    ratio.double_value(&[])
}

pub(super) fn objective(kind: ObjectiveKind, layer: &str, channels: &[u32]) -> Objective {
    Objective { channels: channels.to_vec(), ..Objective::of_layer(kind, layer) }
}

pub(super) fn spec(objective: Objective) -> DreamSpec {
    DreamSpec {
        model: "test".into(),
        objectives: vec![objective],
        octaves: Count::Of(2),
        iterations: Count::Of(2),
        precision: Precision::Fp32,
        ..DreamSpec::of_preset(Preset::Deepdream)
    }
}

/// The same along waves, and seen scaled and turned.
pub(super) fn otherwise(spec: DreamSpec) -> DreamSpec {
    DreamSpec {
        parametrization: Some(Parametrization::Fourier),
        jitter_pixels: Some(4),
        random_scale: Some(0.1),
        random_rotation: Some(5.0),
        ..spec
    }
}

/// A small network with random weights that reaches every kind of derivative, for images of any size.
pub(super) fn random_network() -> Arc<Model> {
    let mut state = 1u64;
    let mut random = |shape: &[usize]| {
        let data: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.8
            })
            .collect();
        Array::new(shape.to_vec(), data).unwrap()
    };
    let same = |kernel| Window { kernel: [kernel; 2], stride: [2, 2], padding: Padding::Same };
    let conv = |weight: Array, stride, groups| Op::Conv2d {
        weight,
        bias: None,
        stride: [stride; 2],
        dilation: [1, 1],
        padding: Padding::Same,
        groups,
    };
    let ops = [
        ("input", Op::Input { channels: 3 }, vec![]),
        ("conv", conv(random(&[16, 3, 3, 3]), 2, 1), vec![0]),
        ("bias", Op::BiasAdd { bias: random(&[16]) }, vec![1]),
        ("lrn", Op::Lrn { radius: 2, bias: 1.0, alpha: 0.1, beta: 0.75 }, vec![2]),
        ("dense", conv(random(&[16, 16, 3, 3]), 1, 1), vec![3]),
        ("rectified", Op::Relu, vec![4]),
        ("halved", conv(random(&[16, 16, 2, 2]), 2, 1), vec![5]),
        ("average", Op::AvgPool { window: same(3), count_padding: false }, vec![3]),
        ("maximum", Op::MaxPool(same(3)), vec![3]),
        ("all", Op::Concat, vec![6, 7, 8]),
        ("limited", Op::Relu6, vec![9]),
        ("depthwise", conv(random(&[48, 1, 5, 5]), 1, 48), vec![10]),
        ("sum", Op::Add, vec![9, 11]),
        ("pooled", Op::SpatialMean, vec![12]),
        ("logits", Op::MatMul { weight: random(&[48, 10]) }, vec![13]),
        ("softmax", Op::Softmax, vec![14]),
    ];
    let nodes = ops.into_iter().map(|(name, op, inputs)| Node {
        name: name.into(),
        op,
        inputs: inputs.into_iter().map(NodeId).collect(),
    });
    let model = Model::of_network("random", Network::new(nodes.collect()).unwrap(), "sum", Some("logits"));
    Arc::new(Model { preprocessing: Preprocessing::uniform(100.0, 0.02), ..model })
}

/// A PNG of so many pixels.
pub(super) fn file(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> Bytes {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb = Samples::Eight(pixels.flat_map(|(x, y)| color(x, y)).collect());
    let picture = Picture { width, height, rgb, alpha: None };
    picture.encode(Encoding { format: Format::Png, quality: 90, lossless: false }).unwrap().into()
}

/// A PNG of squares on a slope: something that channels see differently.
pub(super) fn squares(width: u32, height: u32) -> Bytes {
    file(width, height, |x, y| {
        let square = if (x / 8 + y / 8).is_multiple_of(2) { 60 } else { 190 };
        [90 + x as u8, 200 - 3 * y as u8, square]
    })
}
