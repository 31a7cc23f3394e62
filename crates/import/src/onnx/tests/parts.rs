//! Channels taken apart and put together again.

use super::*;

#[test]
fn channels_are_shuffled_as_shufflenet_does() {
    let weight = floats("w", &[8, 3, 1, 1], &[0.5; 24]);
    let nodes = |split: &[i64], perm: &[i64], joined: &[i64]| {
        let nodes = [
            node("Conv", "conv", &["image", "w"], vec![]),
            node("Reshape", "five", &["conv", "split"], vec![]),
            node("Transpose", "swapped", &["five"], vec![ints("perm", perm)]),
            node("Reshape", "it", &["swapped", "joined"], vec![]),
        ];
        network(&nodes, &[weight.clone(), integers("split", split), integers("joined", joined)])
    };
    for (split, joined) in [([1, 2, 4, 28, 28], [1, 8, 28, 28]), ([0, 2, -1, 28, 28], [0, -1, 28, 28])] {
        let network = nodes(&split, &[0, 2, 1, 3, 4], &joined);
        assert_eq!(*op(&network, "it"), Op::ChannelShuffle { groups: 2 });
    }
    // Rows do not become columns, nor channels rows; a transposition of maps is none of groups.
    for (split, perm, joined, told) in [
        ([1, 2, 4, 28, 14], [0, 2, 1, 3, 4], [1, 8, 14, 28], "needs 8 channels and its rows and columns"),
        ([1, 2, 4, 28, 28], [0, 2, 1, 3, 4], [1, 4, 56, 28], "needs 8 channels and its rows and columns"),
        ([1, 2, 4, 28, 28], [0, 1, 2, 4, 3], [1, 8, 28, 28], "input 0 has five dimensions, needs a map"),
        ([1, 2, 3, 28, 28], [0, 2, 1, 3, 4], [1, 8, 28, 28], "only rows and maps of one position"),
    ] {
        let error = nodes(&split, &perm, &joined).find("it").unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

/// As torchvision's networks take colours apart that weights were trained on otherwise.
#[test]
fn channels_are_taken_out_of_a_map() {
    let weights =
        ["-1", "-4"].map(|name| TensorProto { dims: vec![], ..integers(name, &[name.parse().unwrap()]) });
    let lists = [integers("from", &[-3]), integers("to", &[i64::MAX]), integers("axes", &[1])];
    let nodes = [
        node("Gather", "plane", &["image", "-1"], vec![int("axis", 1)]),
        node("Unsqueeze", "blue", &["plane", "axes"], vec![]),
        node("Gather", "green", &["image", "axes"], vec![int("axis", 1)]),
        node("Slice", "both", &["image", "from", "to", "axes"], vec![]),
        node("Concat", "all", &["blue", "green", "both"], vec![int("axis", 1)]),
        node("Relu", "flat", &["plane"], vec![]),
        node("Gather", "none", &["image", "-4"], vec![int("axis", 1)]),
    ];
    let weights = [&weights[..], &lists].concat();
    let network = network(&nodes, &weights);
    let slice = |start, channels| Op::SliceChannels { start, channels };
    for (layer, op_of_it) in [("plane", slice(2, 1)), ("green", slice(1, 1)), ("both", slice(0, 3))] {
        assert_eq!(*op(&network, layer), op_of_it, "{layer}");
    }
    assert_eq!(network.channels(network.find("all").unwrap()), 5);
    assert!(network.find("none").unwrap_err().to_string().contains("takes channel -4 of 3"));
    assert!(network.find("flat").unwrap_err().to_string().contains("has three dimensions, needs a map"));
}
