//! Every refusal, by its message: it must name the node and say what is allowed.

use super::*;

#[test]
fn malformed_wiring_is_named() {
    let with = |extra: &[NodeDef]| refusal(&[&[image()], extra].concat());
    let looped = [
        node("before", "Relu", &["c"], &[]),
        node("a", "Relu", &["b"], &[]),
        node("b", "AddV2", &["image", "c"], &[]),
        node("c", "Relu", &["a"], &[]),
    ];
    let error = import(encode(&[&[image()], &looped[..]].concat())).unwrap_err();
    assert!(
        matches!(&error, ImportError::Cycle(name) if ["a", "b", "c"].contains(&name.as_str())),
        "{error}"
    );
    assert_eq!(with(&[node("a", "Relu", &["a"], &[])]), "node \"a\" is part of a cycle");
    assert_eq!(
        with(&[node("a", "Relu", &["nobody:0"], &[])]),
        "node \"a\" reads \"nobody\", which is not in the file"
    );
    assert!(with(&[node("a", "Relu", &["image:1"], &[])]).contains("reads \"image:1\"; only first outputs"));
    assert_eq!(with(&[node("image", "Relu", &["image"], &[])]), "two nodes are called \"image\"");
    assert!(with(&[NodeDef { name: "second".into(), ..image() }]).ends_with("has image, second"));
    assert!(refusal(&[node("a", "Relu", &["a"], &[])]).ends_with("has none"));
}

#[test]
fn operations_and_attributes_that_are_not_known_are_named() {
    let with = |extra: NodeDef| refusal(&[image(), extra]);
    assert_eq!(with(node("a", "Elu", &["image"], &[])), "node \"a\": the operation Elu is not supported");
    let error = with(node("a", "Relu", &["image"], &[("leak", Attr::Float(0.1))]));
    assert_eq!(error, "node \"a\" (Relu): the attribute \"leak\" is not known");
    let mut unread = node("a", "LRN", &["image"], &[]);
    unread.attr.insert("beta".into(), AttrValue { value: None });
    assert!(with(unread).contains("beta holds nothing that can be read"));
}

#[test]
fn attributes_that_are_not_supported_are_refused() {
    for (name, value, expected) in [
        ("data_format", text("NCHW"), "data_format is NCHW, only NHWC"),
        ("padding", text("FULL"), "padding is FULL, only SAME, VALID and EXPLICIT"),
        (
            "padding",
            text("EXPLICIT"),
            "explicit_paddings is [], needs [0, 0, top, bottom, left, right, 0, 0]",
        ),
        ("explicit_paddings", ints(&[0, 0, 1, 1, 1, 1, 0, 0]), "are given, but padding is SAME"),
        ("strides", ints(&[2, 1, 1, 1]), "strides is [2, 1, 1, 1], needs [1, height, width, 1]"),
        ("strides", ints(&[1, 1, 1, 2]), "needs [1, height, width, 1]"),
        ("strides", ints(&[1, 0, 1, 1]), "needs [1, height, width, 1]"),
        ("strides", ints(&[1, i64::MAX, 1, 1]), "needs [1, height, width, 1]"),
        ("strides", ints(&[1; 1000]), "and 992 more, needs"),
        ("strides", text("x"), "strides is a string, needs a list of integers"),
        ("dilations", ints(&[1, 1, 1, 2]), "dilations is [1, 1, 1, 2]"),
        ("T", Attr::Type(19), "T is DT_HALF, only DT_FLOAT"),
    ] {
        let error = refusal(&conv(&[(name, value)]));
        assert!(error.starts_with("node \"conv\" (Conv2D): ") && error.contains(expected), "{error}");
    }
    for missing in ["strides", "padding", "T"] {
        let mut nodes = conv(&[]);
        nodes[2].attr.remove(missing);
        assert!(refusal(&nodes).contains(&format!("the attribute \"{missing}\" is missing")));
    }
}

#[test]
fn inputs_that_are_not_supported_are_refused() {
    let axis = integers("k", &[2]);
    let weight = floats("k", &[3, 3], counting(9));
    for (op, constant, attrs, expected) in [
        ("MatMul", &weight, vec![("transpose_a", Attr::Bool(true))], "transpose_a is not supported"),
        ("MatMul", &weight, vec![], "multiplies a map of 3 channels"),
        ("Mean", &axis, vec![], "averages over axes [2], only [1, 2]"),
        ("ConcatV2", &axis, vec![], "joins along axis [2], only channels (3)"),
        ("Reshape", &axis, vec![], "the new shape is [2], only [-1, n]"),
        ("BiasAdd", &weight, vec![], "the weight has the shape [3, 3], needs 1 non-empty dimensions"),
        (
            "Add",
            &weight,
            vec![],
            "the constant has the shape [3, 3]; it must be one value, or one for each of 3",
        ),
        ("Minimum", &weight, vec![], "the constant has the shape [3, 3]; it must be one value"),
        ("Sub", &axis, vec![], "the constant is DT_INT32, needs DT_FLOAT"),
        ("RealDiv", &axis, vec![], "the constant is DT_INT32"),
        ("Pad", &axis, vec![], "pads by [2], needs [0, 0, top, bottom, left, right, 0, 0]"),
        ("Switch", &axis, vec![], "the constant is DT_INT32, needs DT_BOOL"),
        ("FusedBatchNorm", &weight, vec![], "has 2 inputs, needs 5"),
        ("Relu", &axis, vec![], "has 2 inputs, needs 1"),
    ] {
        let error = refusal(&[image(), constant.clone(), node("it", op, &["image", "k"], &attrs)]);
        assert!(error.starts_with("node \"it\" (") && error.contains(expected), "{error}");
    }
    let error = refusal(&[image(), node("it", "BiasAdd", &["image", "image"], &[])]);
    assert!(error.contains("input 1 is computed, needs a constant"), "{error}");
    let error = refusal(&[node(
        "image",
        "Placeholder",
        &[],
        &[("dtype", Attr::Type(DT_FLOAT)), ("shape", Attr::Shape(shape(&[-1, -1, -1, 1])))],
    )]);
    assert!(error.contains("has the shape [-1, -1, -1, 1], needs [batch, height, width, 3]"), "{error}");
}

#[test]
fn absurd_constants_are_refused_before_they_are_allocated() {
    let mut nodes = conv(&[]);
    nodes[1] = floats("kernel", &[1, 1 << 30, 1 << 30, 1 << 30], counting(12));
    assert!(refusal(&nodes).contains("is absurd"));
    nodes[1] = floats("kernel", &[1, 2, 3, 3], counting(12));
    assert!(refusal(&nodes).contains("but the file holds 12 value(s)"));
    nodes[1] = floats("kernel", &[0, 2, 3, 2], []);
    assert!(refusal(&nodes).contains("needs 4 non-empty dimensions"));

    // A short file that would multiply: one repeated value, read again and again.
    let repeated = TensorProto {
        dtype: DT_FLOAT,
        tensor_shape: Some(shape(&[64, 64])),
        float_val: vec![1.0],
        ..Default::default()
    };
    let mut nodes = vec![image(), constant("weight", repeated), integers("new", &[-1, 64])];
    nodes.push(node("rows", "Reshape", &["image", "new"], &[]));
    for index in 0..10 {
        nodes.push(node(&format!("product{index}"), "MatMul", &["rows", "weight"], &[]));
    }
    let budget = Budget::of_values(9 * 64 * 64);
    let error = translate_within(&nodes, budget).unwrap_err().to_string();
    assert!(error.contains("node \"product9\" (MatMul): the weights have too many values"), "{error}");

    // As a file: a hundred weights of 16 MiB each from less than 20 kB.
    let repeated = TensorProto {
        dtype: DT_FLOAT,
        tensor_shape: Some(shape(&[1 << 11, 1 << 11])),
        float_val: vec![1.0],
        ..Default::default()
    };
    let mut nodes = vec![image(), constant("weight", repeated), integers("new", &[-1, 1 << 11])];
    nodes.push(node("rows", "Reshape", &["image", "new"], &[]));
    nodes.extend((0..100).map(|index| node(&format!("product{index}"), "MatMul", &["rows", "weight"], &[])));
    let error = translate(&nodes).unwrap_err().to_string();
    assert!(error.contains("node \"product1\" (MatMul): the weights have too many values"), "{error}");
}

#[test]
fn nodes_that_do_not_fit_together_are_named() {
    let mut nodes = conv(&[]);
    nodes[1] = floats("kernel", &[1, 1, 4, 2], counting(8));
    let error = import(encode(&nodes)).unwrap_err();
    assert!(matches!(&error, ImportError::Graph(GraphError::Node { node, .. }) if node == "conv"), "{error}");
}

#[test]
fn every_truncation_is_an_error() {
    let mut nodes = conv(&[]);
    nodes.push(node("relu", "Relu", &["conv"], &[]));
    let file = encode(&nodes);
    for end in 0..file.len() {
        if let Ok(network) = import(file[..end].to_vec()) {
            // Protobuf has no end marker: a file that is cut between two nodes is a smaller graph.
            assert!(network.find("relu").is_err(), "cut at {end}");
        }
    }
    assert!(import(file[..file.len() - 1].to_vec()).unwrap_err().to_string().contains("not a complete"));
    assert!(import(vec![]).unwrap_err().to_string().contains("it has 0 nodes"));
    assert!(import(b"no graph at all".to_vec()).is_err());
    assert!(import([0x0a, 0].repeat(1 << 20)).unwrap_err().to_string().contains("allowed are 1 to 65536"));
}
