//! GoogLeNet's layers under the names of other programs: Caffe's, TensorFlow's and torchvision's files of this one network call
//! the same layer `inception_4c/output`, `mixed4c` and `inception4c`. A spec that was written for one file serves the others.
//!
//! Two names mean two layers, depending on who says them: `maxpool1` is TensorFlow's second pooling and torchvision's first, `maxpool4`
//! TensorFlow's third and torchvision's fourth. In a file of either program they are that program's; in one of Caffe's they
//! are refused, with both layers.

use reverie_graph::{Network, NodeId};

/// The names of a layer in Caffe's, TensorFlow's and torchvision's files; none where a network has no such layer.
type Names = [Option<String>; 3];

/// Inception blocks, from the image to the end.
pub(super) const BLOCKS: [&str; 9] = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"];

/// Layers before and after the blocks.
const OTHERS: [[&str; 3]; 14] = [
    ["conv1/7x7_s2", "conv2d0_pre_relu", "conv1.bn"],
    ["conv1/relu_7x7", "conv2d0", "conv1"],
    ["pool1/3x3_s2", "maxpool0", "maxpool1"],
    ["pool1/norm1", "localresponsenorm0", ""],
    ["conv2/3x3_reduce", "conv2d1_pre_relu", "conv2.bn"],
    ["conv2/relu_3x3_reduce", "conv2d1", "conv2"],
    ["conv2/3x3", "conv2d2_pre_relu", "conv3.bn"],
    ["conv2/relu_3x3", "conv2d2", "conv3"],
    ["conv2/norm2", "localresponsenorm1", ""],
    ["pool2/3x3_s2", "maxpool1", "maxpool2"],
    ["pool3/3x3_s2", "maxpool4", "maxpool3"],
    ["pool4/3x3_s2", "maxpool10", "maxpool4"],
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
        all.push(
            [format!("{caffe}pool"), format!("{tensorflow}pool"), format!("{torchvision}branch4.0")]
                .map(Some),
        );
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
                // What the file calls a layer means that layer.
                let is_taken = |alias: &String| names.contains(alias) && row[own].as_ref() != Some(alias);
                for alias in row.iter().flatten().filter(|alias| !is_taken(alias)) {
                    if own == 0 && ["maxpool1", "maxpool4"].contains(&alias.as_str()) {
                        continue;
                    }
                    assert_eq!(Some(name(network.find(alias).unwrap())), row[own], "{alias}");
                }
            }
        }
    }

    #[test]
    fn a_pooling_that_two_programs_call_alike_is_that_of_the_files_program() {
        let all = names();
        let of = |own: usize| network(&all.iter().filter_map(|names| names[own].clone()).collect::<Vec<_>>());
        let [caffe, tensorflow, torchvision] = [0, 1, 2].map(of);
        let found = |network: &Network, name: &str| network.node(network.find(name).unwrap()).name.clone();
        for network in [&tensorflow, &torchvision] {
            assert_eq!(found(network, "maxpool1"), "maxpool1");
        }
        assert_eq!(found(&tensorflow, "maxpool3"), "maxpool4");
        assert_eq!(found(&torchvision, "maxpool0"), "maxpool1");
        assert_eq!(found(&torchvision, "pool4/3x3_s2"), "maxpool4");
        assert_eq!(found(&caffe, "maxpool10"), "pool4/3x3_s2");
        let told = caffe.find("maxpool1").unwrap_err().to_string();
        let both = "it may mean \"pool1/3x3_s2\" or \"pool2/3x3_s2\"; use one of these names";
        assert_eq!(told, format!("the layer \"maxpool1\" is not available: {both}"));
        assert!(
            caffe.find("maxpool4").unwrap_err().to_string().contains("\"pool3/3x3_s2\" or \"pool4/3x3_s2\"")
        );
        // Nor are they offered where another name is misspelled.
        assert!(!caffe.find("maxpool5").unwrap_err().nearest.iter().any(|name| name == "maxpool4"));
    }

    #[test]
    fn only_a_googlenet_has_aliases() {
        let blocks = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(of(&network(&blocks(&["mixed4c", "mixed4d"]))), []);
        let caffe: Vec<String> = BLOCKS.iter().filter_map(|block| output(block)[0].clone()).collect();
        let network = network(&caffe);
        assert!(network.find("mixed5b").is_ok() && network.find("maxpool1").is_err());
    }
}
