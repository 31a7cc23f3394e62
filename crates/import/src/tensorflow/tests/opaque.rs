//! What a graph has beside the layers of a dream: unknown nodes, dead ends, training branches, other inputs.

use super::*;

#[test]
fn an_unknown_node_takes_only_its_readers_with_it() {
    let mut nodes = conv(&[]);
    nodes.extend([
        node("good", "Relu", &["conv"], &[]),
        node("odd", "Elu", &["conv"], &[]),
        node("behind", "Relu", &["odd"], &[]),
        node("joined", "AddV2", &["good", "behind"], &[]),
        node("init", "NoOp", &[], &[]),
        node("broken", "Relu", &["nobody"], &[]),
        floats("misfit", &[1, 1, 5, 2], counting(10)),
        node(
            "head",
            "Conv2D",
            &["conv", "misfit"],
            &[("strides", ints(&[1, 1, 1, 1])), ("padding", text("SAME"))],
        ),
    ]);
    let network = network(&nodes);
    let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["image", "conv", "good"]);
    let left_out: Vec<&str> = network.left_out().keys().map(String::as_str).collect();
    assert_eq!(left_out, ["behind", "broken", "head", "init", "joined", "odd"]);
    let why = |name| network.find(name).unwrap_err().to_string();
    for name in ["odd", "behind", "joined"] {
        let expected = format!(
            "the layer \"{name}\" is not available: node \"odd\": the operation Elu is not supported"
        );
        assert_eq!(why(name), expected);
    }
    assert!(why("broken").contains("reads \"nobody\", which is not in the file"));
    assert!(why("head").contains("does not fit an input of 2 channels"), "{}", why("head"));
    assert!(why("nowhere").starts_with("there is no layer \"nowhere\"; the closest are"));
}

#[test]
fn a_cycle_takes_only_what_waits_for_it() {
    let mut nodes = conv(&[]);
    nodes.extend([
        node("enter", "AddV2", &["conv", "next"], &[]),
        node("next", "Relu", &["enter"], &[]),
        node("after", "Relu", &["next"], &[]),
    ]);
    let network = network(&nodes);
    assert_eq!(network.nodes().len(), 2);
    let error = network.find("after").unwrap_err().to_string();
    assert!(error.contains("is part of a cycle") && !error.contains("\"after\" is part"), "{error}");
}

fn flag(name: &str, value: bool) -> NodeDef {
    use crate::graphdef::DT_BOOL;
    constant(name, TensorProto { dtype: DT_BOOL, bool_val: vec![value], ..Default::default() })
}

#[test]
fn only_the_branch_that_a_constant_takes_is_there() {
    for training in [false, true] {
        let nodes = [
            image(),
            flag("training", training),
            node("switch", "Switch", &["image", "training"], &[]),
            node("evaluated", "Relu", &["switch"], &[]),
            node("trained", "Relu6", &["switch:1"], &[]),
            node("merge", "Merge", &["trained", "evaluated"], &[("N", Attr::Int(2))]),
            node("it", "Relu", &["merge"], &[]),
        ];
        let network = network(&nodes);
        let taken = if training { "trained" } else { "evaluated" };
        let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["image", taken, "it"]);
        assert_eq!(network.nodes()[2].inputs, [NodeId(1)]);
        assert!(network.left_out().is_empty(), "a branch that is not taken is nothing to report");
    }
}

#[test]
fn keras_is_told_that_it_is_not_trained() {
    use crate::graphdef::DT_BOOL;
    let phase = |op: &str, inputs: &[&str]| {
        node("keras_learning_phase", op, inputs, &[("dtype", Attr::Type(DT_BOOL))])
    };
    for (phase, more) in [
        (phase("Placeholder", &[]), vec![]),
        (phase("PlaceholderWithDefault", &["no"]), vec![flag("no", false)]),
    ] {
        let mut nodes = vec![
            image(),
            phase,
            node("switch", "Switch", &["image", "keras_learning_phase"], &[]),
            node("it", "Relu", &["switch"], &[]),
            node("other", "Relu", &["switch:1"], &[]),
        ];
        nodes.extend(more);
        let network = network(&nodes);
        assert!(network.find("it").is_ok() && network.find("other").is_err());
    }
}

#[test]
fn the_image_is_found_among_several_placeholders() {
    let placeholder = |name: &str, dims: Option<&[i64]>| {
        let mut attrs = vec![("dtype", Attr::Type(DT_FLOAT))];
        attrs.extend(dims.map(|dims| ("shape", Attr::Shape(shape(dims)))));
        node(name, "Placeholder", &[], &attrs)
    };
    let found = |nodes: &[NodeDef]| {
        let network = network(nodes);
        network.node(network.input()).name.clone()
    };
    // By its shape.
    let mut nodes = conv(&[]);
    nodes.extend([placeholder("keep_prob", None), placeholder("labels", Some(&[-1, 1000]))]);
    nodes.push(node("dropped", "Mul", &["conv", "keep_prob"], &[]));
    assert_eq!(found(&nodes), "image");
    let error = network(&nodes).find("dropped").unwrap_err().to_string();
    assert!(error.contains("node \"keep_prob\" (Placeholder): is a second input"), "{error}");
    // By what is computed from it, where no shape tells.
    nodes[0] = placeholder("image", None);
    assert_eq!(found(&nodes), "image");
    // A default is an image where there is no other.
    let mut nodes = conv(&[]);
    nodes[0] = node(
        "image",
        "PlaceholderWithDefault",
        &["none"],
        &[("dtype", Attr::Type(DT_FLOAT)), ("shape", Attr::Shape(shape(&[-1, -1, -1, 3])))],
    );
    nodes.push(floats("none", &[0], []));
    assert_eq!(found(&nodes), "image");
    // Otherwise it stands for what it is given.
    let mut nodes = conv(&[]);
    nodes.push(node("again", "PlaceholderWithDefault", &["conv"], &[("dtype", Attr::Type(DT_FLOAT))]));
    nodes.push(node("it", "Relu", &["again"], &[]));
    assert_eq!(network(&nodes).nodes()[2].inputs, [NodeId(1)]);
}

#[test]
fn a_graph_that_reads_a_file_gets_the_image_there() {
    let nodes = [
        constant("contents", TensorProto { dtype: 7, ..Default::default() }),
        node("DecodeJpeg", "DecodeJpeg", &["contents"], &[("channels", Attr::Int(3))]),
        node("Cast", "Cast", &["DecodeJpeg"], &[("SrcT", Attr::Type(4)), ("DstT", Attr::Type(DT_FLOAT))]),
        integers("axis", &[0]),
        node("ExpandDims", "ExpandDims", &["Cast", "axis"], &[]),
        integers("size", &[299, 299]),
        node("ResizeBilinear", "ResizeBilinear", &["ExpandDims", "size"], &[]),
        floats("mean", &[], [128.0]),
        node("Sub", "Sub", &["ResizeBilinear", "mean"], &[]),
    ];
    let network = network(&nodes);
    let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["DecodeJpeg", "Sub"]);
}

/// As Keras freezes a swish: an operation with a derivative of its own in a node of several outputs.
#[test]
fn of_several_outputs_the_first_is_read() {
    let mut nodes = conv(&[]);
    nodes.extend([
        node("sigmoid", "Sigmoid", &["conv"], &[]),
        node("product", "Mul", &["conv", "sigmoid"], &[]),
        node(
            "several",
            "IdentityN",
            &["product", "conv"],
            &[("_gradient_op_type", text("CustomGradient-8"))],
        ),
        node("after", "Relu", &["several"], &[]),
        node("second", "Relu", &["several:1"], &[]),
    ]);
    let network = network(&nodes);
    let several = network.node(network.find("several").unwrap());
    assert_eq!((&several.op, several.inputs[0]), (&Op::Identity, network.find("product").unwrap()));
    assert!(network.find("after").is_ok());
    let error = network.find("second").unwrap_err().to_string();
    assert!(error.contains("only first outputs (:0) are supported"), "{error}");
}
