//! Networks of any wiring: small random graphs with branches, residuals, several readers of a node and several wanted
//! layers, in the arithmetic that renders, against autograd in double precision.
//!
//! Autograd runs every operation by itself and writes over nothing, so it sees what fusions and writes in place must not
//! change. A network of ReLUs and maxima has kinks, where the last digit decides; a graph therefore has to agree for
//! one of three images. Wrong memory disagrees for all.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        cuda::GpuKernels,
        exec::{Executor, Manner},
        objective::BoundObjective,
        verify::GRADIENT_TOLERANCE,
    },
    objective,
};
use reverie_dream::{
    model::{Model, Preprocessing},
    spec::{Objective, ObjectiveKind},
};
use reverie_graph::{Array, Network, Node, NodeId, Op, Padding, Shape, Window};

const HEIGHT: usize = 13;
const WIDTH: usize = 18;

/// A graph that grows node by node, each choice and weight from one stream of numbers.
struct Graph {
    state: u64,
    nodes: Vec<Node>,
    shapes: Vec<Shape>,
}

impl Graph {
    fn new(seed: u64) -> Self {
        let input = Node { name: "n0".into(), op: Op::Input { channels: 3 }, inputs: Vec::new() };
        let shape = Shape::Map { channels: 3, height: HEIGHT, width: WIDTH };
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, nodes: vec![input], shapes: vec![shape] }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % limit
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Values within `spread` of `centre`.
    fn values(&mut self, shape: &[usize], centre: f32, spread: f32) -> Array {
        let count = shape.iter().product();
        let data: Vec<f32> = (0..count)
            .map(|_| centre + (self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0) * spread)
            .collect();
        Array::new(shape.to_vec(), data).unwrap()
    }

    /// Adds a node where it fits its inputs and the image.
    fn push(&mut self, op: Op, inputs: &[usize]) -> Option<usize> {
        let id = self.nodes.len();
        let inputs = inputs.iter().copied().map(NodeId).collect();
        let mut nodes = self.nodes.clone();
        nodes.push(Node { name: format!("n{id}"), op, inputs });
        let network = Network::new(nodes).ok()?;
        self.shapes.push(network.shapes(&[NodeId(id)], HEIGHT, WIDTH).ok()?[id]?);
        self.nodes = network.nodes().to_vec();
        Some(id)
    }

    /// One of the nodes for which `fits` holds; late ones more often.
    fn pick(&mut self, fits: impl Fn(Shape) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.nodes.len()).filter(|&id| fits(self.shapes[id])).collect();
        let count = found.len();
        if count == 0 {
            return None;
        }
        let at = if self.flip() { count - 1 - self.below(count.min(3)) } else { self.below(count) };
        Some(found[at])
    }

    fn convolution(&mut self, channels: usize) -> Op {
        let groups = [1, 1, 2, channels][self.below(4)];
        let groups = if channels.is_multiple_of(groups) { groups } else { 1 };
        let out = if groups == channels { channels } else { [8, 16][self.below(2)] };
        let kernel = 1 + self.below(3);
        let reach = (kernel * kernel * channels / groups) as f32;
        let weight = self.values(&[out, channels / groups, kernel, kernel], 0.0, (3.0 / reach).sqrt() * 1.4);
        Op::Conv2d {
            weight,
            bias: if self.flip() { Some(self.values(&[out], 0.0, 0.3)) } else { None },
            stride: [1 + self.below(4) / 3; 2],
            dilation: [1 + self.below(4) / 3; 2],
            padding: self.padding([kernel; 2], false),
            groups,
        }
    }

    fn padding(&mut self, extent: [usize; 2], ceil: bool) -> Padding {
        let side = |graph: &mut Self| extent.map(|extent| graph.below(extent));
        match self.below(5) {
            0 => Padding::Valid,
            1 | 2 => Padding::Explicit { before: side(self), after: side(self), ceil: ceil && self.flip() },
            _ => Padding::Same,
        }
    }

    fn window(&mut self) -> Window {
        let kernel = [2 + self.below(2), 2 + self.below(2)];
        Window { kernel, stride: [1 + self.below(2); 2], padding: self.padding(kernel, true) }
    }

    /// An operation that treats each value by itself.
    fn elementwise(&mut self, channels: usize) -> Op {
        match self.below(9) {
            0 => Op::Sigmoid,
            1 => Op::Swish,
            2 => Op::HardSwish,
            3 => Op::LeakyRelu { slope: 0.1 },
            4 => Op::Clip { low: -0.4, high: 0.7 },
            5 => Op::Clip { low: f32::NEG_INFINITY, high: 0.5 },
            6 => Op::Scale { scale: self.values(&[channels], 1.0, 0.5), bias: None },
            _ => Op::Scale {
                scale: self.values(&[channels], -0.5, 1.0),
                bias: Some(self.values(&[channels], 0.0, 0.5)),
            },
        }
    }

    /// A squeeze-and-excite gate of one of two forms.
    fn gate(&mut self, map: usize, channels: usize) -> Option<usize> {
        let pooled = if self.flip() {
            self.push(Op::GlobalAvgPool, &[map])?
        } else {
            let rows = self.push(Op::SpatialMean, &[map])?;
            self.push(Op::AsMap, &[rows])?
        };
        let weight = self.values(&[channels, channels, 1, 1], 0.0, 1.0);
        let conv = Op::Conv2d {
            weight,
            bias: None,
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::Valid,
            groups: 1,
        };
        let conv = self.push(conv, &[pooled])?;
        let gate = self.push(Op::Sigmoid, &[conv])?;
        let factors = if self.flip() { [map, gate] } else { [gate, map] };
        self.push(Op::Multiply, &factors)
    }

    /// One more node of a random kind, if it fits.
    fn grow(&mut self) -> Option<usize> {
        let is_map = |shape: Shape| matches!(shape, Shape::Map { .. });
        let kind = self.below(18);
        if kind == 17 && self.nodes.len() > 4 {
            return self.head();
        }
        let input = self.pick(is_map)?;
        let Shape::Map { channels, .. } = self.shapes[input] else { return None };
        let op = match kind {
            0 | 1 => self.convolution(channels),
            2 => Op::BiasAdd { bias: self.values(&[channels], 0.0, 0.5) },
            3 | 4 => Op::Relu,
            5 => Op::Relu6,
            6 => Op::MaxPool(self.window()),
            7 => Op::AvgPool { window: self.window(), count_padding: self.flip() },
            12..=14 => self.elementwise(channels),
            15 => Op::Pad { before: [self.below(3), self.below(3)], after: [self.below(3), self.below(3)] },
            16 => return self.gate(input, channels),
            8 => Op::Lrn { radius: 1 + self.below(3), bias: 1.0, alpha: 0.2, beta: 0.75 },
            9 => return self.join(input),
            10 => [Op::Identity, Op::Softmax][self.below(2)].clone(),
            _ if self.flip() => Op::ChannelShuffle { groups: 4 },
            _ => {
                let start = self.below(channels);
                Op::SliceChannels { start, channels: 1 + self.below(channels - start) }
            }
        };
        self.push(op, &[input])
    }

    /// A sum, a product or a concatenation of maps of one size.
    fn join(&mut self, input: usize) -> Option<usize> {
        let Shape::Map { height, width, .. } = self.shapes[input] else { return None };
        if self.flip() {
            let like = self.shapes[input];
            let other = self.pick(|shape| shape == like)?;
            let op = if self.flip() { Op::Add } else { Op::Multiply };
            return self.push(op, &[input, other]);
        }
        let same = move |shape: Shape| matches!(shape, Shape::Map { height: h, width: w, .. } if (h, w) == (height, width));
        let others = [self.pick(same)?, self.pick(same)?];
        self.push(Op::Concat, &[input, others[0], others[1]])
    }

    /// Rows, and what reads them.
    fn head(&mut self) -> Option<usize> {
        let map = self.pick(|shape| matches!(shape, Shape::Map { .. }))?;
        let Shape::Map { channels, .. } = self.shapes[map] else { return None };
        let rows = match self.below(3) {
            0 => Op::SpatialMean,
            order => Op::Flatten { features: channels, channels_first: order == 1 },
        };
        let rows = self.push(rows, &[map])?;
        let weight = self.values(&[channels, 6], 0.0, 0.5);
        let product = self.push(Op::MatMul { weight }, &[rows])?;
        let bias = self.values(&[6], 0.0, 0.5);
        let sum = self.push(Op::BiasAdd { bias }, &[product])?;
        let reader = match self.below(4) {
            0 => Op::Relu,
            1 => Op::Softmax,
            _ => self.elementwise(6),
        };
        let input = if self.flip() { sum } else { product };
        self.push(reader, &[input])
    }

    /// A network of so many nodes or a few less, and what to dream of: one to three layers.
    fn finish(mut self, size: usize) -> (Arc<Model>, Vec<Objective>) {
        for _ in 0..4 * size {
            if self.nodes.len() < size {
                self.grow();
            }
        }
        let last = self.nodes.len() - 1;
        let mut layers = vec![last];
        layers.extend((0..self.below(3)).map(|_| 1 + self.below(last)));
        let objectives = layers.iter().enumerate().map(|(index, layer)| Objective {
            weight: 1.0 / (1 + index) as f64,
            ..objective(ObjectiveKind::L2, &format!("n{layer}"), &[])
        });
        let objectives = objectives.collect();
        (model(self.nodes, &format!("n{last}")), objectives)
    }
}

fn model(nodes: Vec<Node>, layer: &str) -> Arc<Model> {
    let model = Model::of_network("random", Network::new(nodes).unwrap(), layer, None);
    Arc::new(Model { preprocessing: Preprocessing::uniform(120.0, 0.02), ..model })
}

/// How far the gradient is from that of autograd in double precision, relative to its length; none where that is zero.
fn error(model: &Arc<Model>, objectives: &[Objective], image: &Tensor, manner: Manner) -> Option<f64> {
    let gradient = |manner: Manner, image: &Tensor| {
        let executor = Executor::with_manner(Arc::clone(model), Device::Cpu, manner).unwrap();
        let bound = BoundObjective::new(executor.network(), objectives).unwrap();
        if manner.kind == Kind::Double {
            let leaf = image.to_kind(Kind::Double).set_requires_grad(true);
            let score = bound.score(&executor, &leaf).unwrap();
            return Tensor::run_backward(&[&score], &[&leaf], false, false).remove(0);
        }
        bound.gradient(&executor, image).unwrap().1.to_kind(Kind::Double)
    };
    let expected = gradient(Manner { library_only: true, ..Manner::of(Kind::Double) }, image);
    let norm = |tensor: &Tensor| tensor.norm().double_value(&[]);
    let scale = norm(&expected);
    let found = gradient(manner, image);
    (scale > 1e-9).then(|| norm(&(found - expected)) / scale)
}

/// Fails where a network's gradient is wrong for three images.
fn agrees(model: &Arc<Model>, objectives: &[Objective], what: &str) {
    let own = Manner::of(Kind::Float);
    let library = Manner { library_only: true, ..own };
    let gpu = Manner { gpu: Some(GpuKernels::on_host()), ..library };
    for manner in [own, library, gpu] {
        let errors: Vec<f64> = (0..3)
            .map(|seed| {
                tch::manual_seed(seed);
                let size = [1, 3, HEIGHT as i64, WIDTH as i64];
                Tensor::rand(size, (Kind::Float, Device::Cpu)) * 255.0
            })
            .map_while(|image| error(model, objectives, &image, manner))
            .collect();
        let good = errors.iter().any(|&error| error <= GRADIENT_TOLERANCE);
        let wiring = || {
            let nodes = model.network.nodes().iter();
            nodes.map(|node| format!("{} {:?} {:?}", node.name, node.op, node.inputs)).collect::<Vec<_>>()
        };
        assert!(good || errors.is_empty(), "{what}, {manner:?}: {errors:?} of {:#?}", wiring());
    }
}

#[test]
fn gradients_of_random_graphs_are_those_of_autograd() {
    for seed in 0..200 {
        let size = 6 + seed as usize % 12;
        let (model, objectives) = Graph::new(seed).finish(size);
        agrees(&model, &objectives, &format!("seed {seed}"));
    }
}

/// A rectifier is the last to read a convolution that another node beside it still needs.
#[test]
fn a_rectifier_leaves_what_others_have_alone() {
    let lrn = || Op::Lrn { radius: 2, bias: 1.0, alpha: 0.05, beta: 0.75 };
    let rectifiers = [Op::Relu, Op::Relu6];
    for (beside, then) in [
        (Op::Identity, None),
        (lrn(), None),
        (Op::Identity, Some(Op::Identity)),
        (Op::Identity, Some(lrn())),
        (Op::Swish, None),
    ] {
        for rectifier in &rectifiers {
            let mut graph = Graph::new(7);
            let weight = graph.values(&[16, 3, 3, 3], 0.0, 0.4);
            let conv = Op::Conv2d {
                weight,
                bias: None,
                stride: [1, 1],
                dilation: [1, 1],
                padding: Padding::Same,
                groups: 1,
            };
            let mut pre = graph.push(conv, &[0]).unwrap();
            let bias = graph.values(&[16], 0.0, 0.4);
            pre = graph.push(Op::BiasAdd { bias }, &[pre]).unwrap();
            let mut other = graph.push(beside.clone(), &[pre]).unwrap();
            if let Some(then) = &then {
                other = graph.push(then.clone(), &[other]).unwrap();
            }
            let rectified = graph.push(rectifier.clone(), &[pre]).unwrap();
            let mixed = graph.push(Op::Concat, &[other, rectified]).unwrap();
            let layer = format!("n{mixed}");
            let objectives = [objective(ObjectiveKind::L2, &layer, &[])];
            let what = format!("{} and {then:?} beside {}", beside.kind(), rectifier.kind());
            agrees(&model(graph.nodes, &layer), &objectives, &what);
        }
    }
}
