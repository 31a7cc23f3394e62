//! Batch normalisation of a network that is only evaluated: one factor and one offset for each channel, which a convolution
//! before it can have in its weights. Then the map is not gone over again, and a ReLU behind it can be done with the convolution.
//!
//! The layer of the normalisation is what both give. That of the convolution alone is left out: its weights would have to be there
//! twice.

use std::{collections::BTreeMap, sync::Arc};

use super::{Budget, floats::list};
use reverie_graph::{Array, Builder, GraphError, Network, Node, NodeId, Op};

/// `(x − shift) · factor + offset`, channel by channel. In 64 bits, so that nothing that is made of it has an error worth
/// mentioning.
pub(super) struct Affine {
    shift: Vec<f64>,
    factor: Vec<f64>,
    offset: Vec<f64>,
}

impl Affine {
    /// `(x − mean) · scale / √(variance + ε) + offset`, of `[scale, offset, mean, variance]`, all of one length.
    pub(super) fn of_statistics([scale, offset, mean, variance]: [&[f32]; 4], epsilon: f64) -> Self {
        let factor = (scale.iter().zip(variance))
            .map(|(&scale, &variance)| f64::from(scale) / (f64::from(variance) + epsilon).sqrt());
        Self { shift: wide(mean), factor: factor.collect(), offset: wide(offset) }
    }

    fn nothing(channels: usize) -> Self {
        Self { shift: vec![0.0; channels], factor: vec![1.0; channels], offset: vec![0.0; channels] }
    }

    /// This, and what a node computes from it; none where that is something else.
    fn then(mut self, op: &Op) -> Option<Self> {
        let (scale, bias) = match op {
            Op::Scale { scale, bias } => (Some(scale), bias.as_ref()),
            Op::BiasAdd { bias } => (None, Some(bias)),
            _ => return None,
        };
        let value = |values: &Array, channel: usize| values.data.get(channel).copied().map(f64::from);
        for channel in 0..self.factor.len() {
            let scale = scale.map_or(Some(1.0), |scale| value(scale, channel))?;
            let bias = bias.map_or(Some(0.0), |bias| value(bias, channel))?;
            self.factor[channel] *= scale;
            self.offset[channel] = self.offset[channel] * scale + bias;
        }
        Some(self)
    }

    /// As one factor and one offset for each channel.
    pub(super) fn as_scale(&self) -> Op {
        let offset = (self.offset.iter().zip(&self.shift)).zip(&self.factor);
        let offset = offset.map(|((offset, shift), factor)| (offset - shift * factor) as f32);
        let scale = self.factor.iter().map(|&factor| factor as f32);
        Op::Scale { scale: list(scale.collect()), bias: Some(list(offset.collect())) }
    }

    /// The weight `[out, …]` and the bias of a convolution that does this, too.
    pub(super) fn into_convolution(self, weight: &Array, bias: Option<&Array>) -> (Array, Array) {
        let Self { shift, factor, offset } = self;
        let own =
            |channel: usize| bias.and_then(|bias| bias.data.get(channel)).map_or(0.0, |&own| f64::from(own));
        let biases = (0..factor.len())
            .map(|channel| (offset[channel] - (shift[channel] - own(channel)) * factor[channel]) as f32);
        let biases = list(biases.collect());
        let row = weight.data.len() / factor.len().max(1);
        let rows = weight.data.chunks(row.max(1)).zip(&factor);
        let scaled =
            rows.flat_map(|(row, factor)| row.iter().map(move |&value| (f64::from(value) * factor) as f32));
        (Array { shape: weight.shape.clone(), data: scaled.collect() }, biases)
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// A convolution and what follows it alone.
struct Chain {
    convolution: usize,
    /// Channel by channel, in order.
    affine: Vec<usize>,
}

/// The network of what was read, with normalisations in the convolutions before them; see [`fold`]. `left_out` says what is no layer,
/// and why.
pub(super) fn build(
    builder: Builder,
    mut left_out: BTreeMap<String, Arc<str>>,
    scales: usize,
    budget: &mut Budget,
) -> Result<Network, GraphError> {
    let (nodes, folded) = fold(builder.into_nodes(), scales, budget);
    left_out.extend(folded);
    Ok(Network::new(nodes)?.without(left_out))
}

/// Puts what scales a convolution's channels into its weights: one scale, or `scales` of them in a row, and the biases before and
/// after. Nothing else may read what lies between. Returns the nodes, and names that are none any more with the reason.
fn fold(mut nodes: Vec<Node>, scales: usize, budget: &mut Budget) -> (Vec<Node>, BTreeMap<String, Arc<str>>) {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        node.inputs.iter().for_each(|input| readers[input.0].push(index));
    }
    let chains: Vec<Chain> =
        (0..nodes.len()).filter_map(|index| chain(&nodes, &readers, index, scales)).collect();
    let mut left_out = BTreeMap::new();
    let mut gone = vec![false; nodes.len()];
    for Chain { convolution, affine } in chains {
        let (Some(folded), Some((&last, between))) =
            (folded(&nodes, convolution, &affine, budget), affine.split_last())
        else {
            continue;
        };
        let reason: Arc<str> =
            format!("it is computed together with \"{}\", which alone reads it", nodes[last].name).into();
        nodes[last].inputs = nodes[convolution].inputs.clone();
        nodes[last].op = folded;
        for index in std::iter::once(convolution).chain(between.iter().copied()) {
            left_out.insert(nodes[index].name.clone(), Arc::clone(&reason));
            gone[index] = true;
            // Its weights are given back at once.
            nodes[index].op = Op::Identity;
        }
    }
    // Places move up where nodes are gone.
    let mut place = Vec::with_capacity(nodes.len());
    let mut next = 0;
    for gone in &gone {
        place.push(next);
        next += usize::from(!gone);
    }
    let kept = nodes.into_iter().enumerate().filter(|(index, _)| !gone[*index]);
    let kept = kept.map(|(_, mut node)| {
        node.inputs.iter_mut().for_each(|input| *input = NodeId(place[input.0]));
        node
    });
    (kept.collect(), left_out)
}

/// The chain that begins at a convolution; none without a normalisation in it. A factor that is the same for all channels is none:
/// such are parts of other operations, and shortcuts.
fn chain(nodes: &[Node], readers: &[Vec<usize>], convolution: usize, scales: usize) -> Option<Chain> {
    matches!(nodes[convolution].op, Op::Conv2d { .. }).then_some(())?;
    let (mut affine, mut count, mut at) = (Vec::new(), 0, convolution);
    let normalizes = |scale: &Array| scale.data.iter().any(|factor| Some(factor) != scale.data.first());
    while let [reader] = readers[at][..] {
        match &nodes[reader].op {
            Op::BiasAdd { .. } => {}
            Op::Scale { scale, .. } if count < scales && normalizes(scale) => count += 1,
            _ => break,
        }
        affine.push(reader);
        at = reader;
    }
    (count > 0).then_some(Chain { convolution, affine })
}

/// The convolution that does what a chain does; none where the weights would not be finite, or take more than the file may.
fn folded(nodes: &[Node], convolution: usize, affine: &[usize], budget: &mut Budget) -> Option<Op> {
    let Op::Conv2d { weight, bias, stride, dilation, padding, groups } = &nodes[convolution].op else {
        return None;
    };
    let (stride, dilation, padding, groups) = (*stride, *dilation, *padding, *groups);
    // With a factor for each channel it would be one value no more.
    (!weight.is_repeated()).then_some(())?;
    budget.spend(weight.data.len()).ok()?;
    let nothing = Affine::nothing(*weight.shape.first()?);
    let all = affine.iter().try_fold(nothing, |sum, &index| sum.then(&nodes[index].op))?;
    let (weight, bias) = all.into_convolution(weight, bias.as_ref());
    let finite = weight.data.iter().chain(&*bias.data).all(|value| value.is_finite());
    finite.then_some(Op::Conv2d { weight, bias: Some(bias), stride, dilation, padding, groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reverie_graph::Padding;

    fn conv(name: &str, input: usize, bias: Option<[f32; 2]>) -> Node {
        let weight = Array::new(vec![2, 3, 1, 1], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let bias = bias.map(|bias| list(bias.to_vec()));
        let op =
            Op::Conv2d { weight, bias, stride: [2, 1], dilation: [1, 1], padding: Padding::Same, groups: 1 };
        node(name, op, &[input])
    }

    fn node(name: &str, op: Op, inputs: &[usize]) -> Node {
        Node { name: name.into(), op, inputs: inputs.iter().map(|&input| NodeId(input)).collect() }
    }

    fn scale(name: &str, input: usize, scale: [f32; 2], bias: Option<[f32; 2]>) -> Node {
        let bias = bias.map(|bias| list(bias.to_vec()));
        node(name, Op::Scale { scale: list(scale.to_vec()), bias }, &[input])
    }

    fn bias(name: &str, input: usize, values: [f32; 2]) -> Node {
        node(name, Op::BiasAdd { bias: list(values.to_vec()) }, &[input])
    }

    /// The nodes after an image, folded.
    fn fold_all(nodes: Vec<Node>, scales: usize, budget: usize) -> (Network, Vec<String>) {
        let image = node("image", Op::Input { channels: 3 }, &[]);
        let nodes = std::iter::once(image).chain(nodes).collect();
        let (nodes, left_out) = fold(nodes, scales, &mut Budget::of_values(budget));
        (Network::new(nodes).unwrap(), left_out.into_keys().collect())
    }

    fn values(network: &Network, name: &str) -> (Vec<f32>, Vec<f32>) {
        match &network.node(network.find(name).unwrap()).op {
            Op::Conv2d { weight, bias: Some(bias), stride: [2, 1], padding: Padding::Same, .. } => {
                (weight.data.to_vec(), bias.data.to_vec())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_scale_and_the_biases_around_it_go_into_the_weights() {
        let nodes = vec![
            conv("conv", 0, Some([1.0, -1.0])),
            bias("before", 1, [0.5, 0.5]),
            scale("scale", 2, [2.0, -1.0], Some([10.0, 20.0])),
            bias("after", 3, [100.0, 200.0]),
            node("relu", Op::Relu, &[4]),
        ];
        let (network, left_out) = fold_all(nodes, 1, 100);
        assert_eq!(left_out, ["before", "conv", "scale"]);
        // ((x + 1 + 0.5) · 2 + 10) + 100, and so on.
        let expected = (vec![2.0, 4.0, 6.0, -4.0, -5.0, -6.0], vec![113.0, 220.5]);
        assert_eq!(values(&network, "after"), expected);
        let names: Vec<&str> = network.nodes().iter().map(|node| &*node.name).collect();
        assert_eq!(names, ["image", "after", "relu"]);
        assert_eq!(network.node(network.find("relu").unwrap()).inputs, [NodeId(1)]);
    }

    #[test]
    fn what_others_read_stays_as_it_is() {
        let read_twice =
            vec![conv("conv", 0, None), scale("scale", 1, [2.0, 3.0], None), node("sum", Op::Add, &[1, 2])];
        assert_eq!(fold_all(read_twice, 1, 100).1, [""; 0]);
        // A bias alone is no reason: it costs nothing, and graphs for dreams have layers of both names.
        let biased = vec![conv("conv", 0, None), bias("bias", 1, [1.0, 2.0])];
        assert_eq!(fold_all(biased, 1, 100).1, [""; 0]);
        // Nor is a factor of all channels, such as a hard sigmoid's,
        let all = vec![conv("conv", 0, None), scale("scale", 1, [0.2, 0.2], Some([0.5, 0.5]))];
        assert_eq!(fold_all(all, 1, 100).1, [""; 0]);
        // nor a scale of a convolution, or behind something else.
        let relu =
            vec![conv("conv", 0, None), node("relu", Op::Relu, &[1]), scale("scale", 2, [2.0, 3.0], None)];
        assert_eq!(fold_all(relu, 1, 100).1, [""; 0]);
    }

    #[test]
    fn as_many_scales_are_folded_as_a_format_writes() {
        let nodes = || {
            vec![
                conv("conv", 0, None),
                scale("norm", 1, [2.0, 4.0], Some([1.0, 1.0])),
                scale("scale", 2, [3.0, 1.0], Some([1.0, 2.0])),
                scale("power", 3, [0.5, 1.0], None),
            ]
        };
        let (network, left_out) = fold_all(nodes(), 2, 100);
        assert_eq!(left_out, ["conv", "norm"]);
        assert_eq!(values(&network, "scale"), (vec![6.0, 12.0, 18.0, 16.0, 20.0, 24.0], vec![4.0, 3.0]));
        assert_eq!(fold_all(nodes(), 1, 100).1, ["conv"]);
    }

    #[test]
    fn nothing_is_folded_beyond_the_budget_or_beyond_numbers() {
        let nodes = |factor| vec![conv("conv", 0, None), scale("scale", 1, [factor, 1.0], None)];
        assert_eq!(fold_all(nodes(2.0), 1, 5).1, [""; 0]);
        assert_eq!(fold_all(nodes(f32::MAX), 1, 100).1, [""; 0]);
        assert_eq!(fold_all(nodes(2.0), 1, 6).1, ["conv"]);
    }
}
