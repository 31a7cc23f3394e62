//! GoogLeNet's layers under the names of other programs: Caffe's, TensorFlow's and torchvision's files of this one network call
//! the same layer `inception_4c/output`, `mixed4c` and `inception4c`. A spec that was written for one file serves the others.
//!
//! Names that mean two layers, depending on who says them, are no aliases: `maxpool1` is TensorFlow's second pooling and
//! torchvision's first.

use reverie_graph::{Network, NodeId};

/// The names of a layer in Caffe's, TensorFlow's and torchvision's files; none where a network has no such layer.
type Names = [Option<String>; 3];

/// Inception blocks, from the image to the end.
pub(super) const BLOCKS: [&str; 9] = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"];

/// Layers before and after the blocks.
const OTHERS: [[&str; 3]; 10] = [
    ["conv1/7x7_s2", "conv2d0_pre_relu", "conv1.bn"],
    ["conv1/relu_7x7", "conv2d0", "conv1"],
    ["pool1/norm1", "localresponsenorm0", ""],
    ["conv2/3x3_reduce", "conv2d1_pre_relu", "conv2.bn"],
    ["conv2/relu_3x3_reduce", "conv2d1", "conv2"],
    ["conv2/3x3", "conv2d2_pre_relu", "conv3.bn"],
    ["conv2/relu_3x3", "conv2d2", "conv3"],
    ["conv2/norm2", "localresponsenorm1", ""],
    ["loss3/classifier", "softmax2_pre_activation", "fc"],
    ["prob", "softmax2", "probabilities"],
];

/// The convolutions of a block. Torchvision has 3×3 kernels where the others have 5×5, in the same place.
const BRANCHES: [[&str; 3]; 6] = [
    ["1x1", "1x1", "branch1"],
    ["3x3_reduce", "3x3_bottleneck", "branch2.0"],
    ["3x3", "3x3", "branch2.1"],
    ["5x5_reduce", "5x5_bottleneck", "branch3.0"],
    ["5x5", "5x5", "branch3.1"],
    ["pool_proj", "pool_reduce", "branch4.1"],
];

/// What a block puts out.
fn output(block: &str) -> Names {
    [format!("inception_{block}/output"), format!("mixed{block}"), format!("inception{block}")].map(Some)
}

fn names() -> Vec<Names> {
    let mut all: Vec<Names> =
        OTHERS.iter().map(|names| names.map(|name| (!name.is_empty()).then(|| name.to_owned()))).collect();
    for block in BLOCKS {
        let [caffe, tensorflow, torchvision] =
            [format!("inception_{block}/"), format!("mixed{block}_"), format!("inception{block}.")];
        for [by_caffe, by_tensorflow, by_torchvision] in BRANCHES {
            // Before and after the ReLU.
            all.push(
                [
                    format!("{caffe}{by_caffe}"),
                    format!("{tensorflow}{by_tensorflow}_pre_relu"),
                    format!("{torchvision}{by_torchvision}.bn"),
                ]
                .map(Some),
            );
            all.push(
                [
                    format!("{caffe}relu_{by_caffe}"),
                    format!("{tensorflow}{by_tensorflow}"),
                    format!("{torchvision}{by_torchvision}"),
                ]
                .map(Some),
            );
        }
        all.push(output(block));
    }
    all
}

/// Further names of a network's layers, where it is a GoogLeNet.
pub(super) fn of(network: &Network) -> Vec<(String, NodeId)> {
    let found = |name: &Option<String>| name.as_ref().and_then(|name| network.find(name).ok());
    let has_blocks = |program: &usize| BLOCKS.iter().all(|block| found(&output(block)[*program]).is_some());
    let Some(own) = (0..3).find(has_blocks) else { return Vec::new() };
    let mut aliases = Vec::new();
    for mut names in names() {
        let Some(id) = found(&names[own]) else { continue };
        names[own] = None;
        aliases.extend(names.into_iter().flatten().map(|name| (name, id)));
    }
    aliases
}

#[cfg(test)]
mod tests {
    use super::*;
    use reverie_graph::{Node, Op};

    fn network(names: &[String]) -> Network {
        let input = Node { name: "data".into(), op: Op::Input { channels: 3 }, inputs: vec![] };
        let layers = names.iter().enumerate().map(|(index, name)| Node {
            name: name.clone(),
            op: Op::Relu,
            inputs: vec![NodeId(index)],
        });
        let network = Network::new(std::iter::once(input).chain(layers).collect()).unwrap();
        let aliases = of(&network);
        network.with_aliases(aliases)
    }

    #[test]
    fn each_programs_names_find_the_layers_of_the_others() {
        let all = names();
        for own in 0..3 {
            let names: Vec<String> = all.iter().filter_map(|names| names[own].clone()).collect();
            let network = network(&names);
            for row in all.iter().filter(|row| row[own].is_some()) {
                let name = |id: NodeId| network.node(id).name.clone();
                for alias in row.iter().flatten() {
                    assert_eq!(Some(name(network.find(alias).unwrap())), row[own], "{alias}");
                }
            }
        }
    }

    #[test]
    fn only_a_googlenet_has_aliases() {
        let blocks = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(of(&network(&blocks(&["mixed4c", "mixed4d"]))), []);
        // Names that mean two layers are not taken for one of them.
        let caffe: Vec<String> = BLOCKS.iter().filter_map(|block| output(block)[0].clone()).collect();
        let network = network(&caffe);
        assert!(network.find("mixed5b").is_ok() && network.find("maxpool1").is_err());
    }
}
