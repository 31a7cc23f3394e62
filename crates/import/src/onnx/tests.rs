//! Small files built in code: what is translated to what, what is left out, and every refusal that concerns a whole file.

use super::*;
use crate::onnx_proto::{
    AttributeProto, Dimension, OperatorSetIdProto, TensorShapeProto, TensorType, TypeProto, kind,
};
use reverie_graph::{Array, NodeId, Padding, Shape, Window};

mod beside;
mod parts;

fn node(op: &str, output: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        op_type: op.into(),
        attribute: attributes,
        ..Default::default()
    }
}

fn attribute(name: &str, r#type: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type, ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, kind::INT) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, kind::INTS) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, kind::FLOAT) }
}

fn text(name: &str, value: &'static str) -> AttributeProto {
    AttributeProto { s: value.into(), ..attribute(name, kind::STRING) }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto {
        dims: dims.to_vec(),
        data_type: data_type::FLOAT,
        name: name.into(),
        raw_data: raw_data.into(),
        ..Default::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: data_type::INT64,
        name: name.into(),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

fn input(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&dim_value| Dimension { dim_value }).collect();
    let tensor = TensorType { elem_type: data_type::FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn file(inputs: Vec<ValueInfoProto>, nodes: &[NodeProto], weights: &[TensorProto], version: i64) -> Vec<u8> {
    let graph = GraphProto {
        node: nodes.iter().map(|node| node.encode_to_vec().into()).collect(),
        initializer: weights.iter().map(|tensor| tensor.encode_to_vec().into()).collect(),
        input: inputs,
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version }];
    ModelProto { graph: Some(graph), opset_import }.encode_to_vec()
}

fn import(file: Vec<u8>) -> Result<Network, ImportError> {
    super::import(file, &DataFiles::new())
}

fn image() -> Vec<ValueInfoProto> {
    vec![input("image", &[1, 3, 0, 0])]
}

fn network(nodes: &[NodeProto], weights: &[TensorProto]) -> Network {
    import(file(image(), nodes, weights, 13)).unwrap()
}

fn refusal(nodes: &[NodeProto], weights: &[TensorProto]) -> String {
    import(file(image(), nodes, weights, 13)).unwrap_err().to_string()
}

fn op<'a>(network: &'a Network, name: &str) -> &'a Op {
    &network.node(network.find(name).unwrap()).op
}

/// The operation of a node "it" that reads the image and weights of those names.
fn on_image(name: &str, weights: &[TensorProto], attributes: Vec<AttributeProto>) -> Op {
    let inputs: Vec<&str> =
        std::iter::once("image").chain(weights.iter().map(|weight| weight.name.as_str())).collect();
    op(&network(&[node(name, "it", &inputs, attributes)], weights), "it").clone()
}

#[test]
fn weights_of_every_float_type_are_read_and_no_other() {
    let values = [0.5f32, -2.0, 3.25];
    let weight = |data_type, raw: Vec<u8>| TensorProto {
        dims: vec![1, 3, 1, 1],
        data_type,
        name: "w".into(),
        raw_data: raw.into(),
        ..Default::default()
    };
    let half: [u16; 3] = [0x3800, 0xc000, 0x4280];
    let brain = values.map(|value| (value.to_bits() >> 16) as u16);
    let bits = |bits: [u16; 3]| bits.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<u8>>();
    let listed = |data_type, bits: [u16; 3]| TensorProto {
        int32_data: bits.map(i32::from).to_vec(),
        ..weight(data_type, Vec::new())
    };
    let double = values.map(f64::from);
    for tensor in [
        weight(data_type::FLOAT16, bits(half)),
        listed(data_type::FLOAT16, half),
        weight(data_type::BFLOAT16, bits(brain)),
        listed(data_type::BFLOAT16, brain),
        weight(data_type::DOUBLE, double.iter().flat_map(|value| value.to_le_bytes()).collect()),
        TensorProto { double_data: double.to_vec(), ..weight(data_type::DOUBLE, Vec::new()) },
    ] {
        let kind = tensor.data_type;
        let Op::Conv2d { weight, .. } = on_image("Conv", &[tensor], vec![]) else { panic!("{kind}") };
        assert_eq!(weight.data.to_vec(), values, "{kind}");
    }
    for (kind, name) in [(3, "int8"), (2, "uint8"), (17, "float8")] {
        let told = refusal(&[node("Conv", "it", &["image", "w"], vec![])], &[weight(kind, vec![1, 2, 3])]);
        assert!(told.contains(name) && told.contains("float16"), "{told}");
    }
    // An odd number of bytes.
    let told =
        refusal(&[node("Conv", "it", &["image", "w"], vec![])], &[weight(data_type::FLOAT16, vec![0; 5])]);
    assert!(told.contains("holds 2 value(s)"), "{told}");
}

#[test]
fn convolutions_and_windows_are_read() {
    let values: Vec<f32> = (0..12u8).map(f32::from).collect();
    let weight = floats("w", &[2, 3, 1, 2], &values);
    let attributes = vec![
        ints("pads", &[0, 1, 0, 0]),
        ints("strides", &[2, 1]),
        ints("dilations", &[1, 2]),
        ints("kernel_shape", &[1, 2]),
    ];
    let expected = Op::Conv2d {
        weight: Array::new(vec![2, 3, 1, 2], values).unwrap(),
        bias: Some(Array::new(vec![2], vec![0.5, 1.0]).unwrap()),
        stride: [2, 1],
        dilation: [1, 2],
        padding: Padding::Explicit { before: [0, 1], after: [0, 0], ceil: false },
        groups: 1,
    };
    assert_eq!(on_image("Conv", &[weight, floats("b", &[2], &[0.5, 1.0])], attributes), expected);
    let window = |padding| Window { kernel: [3, 3], stride: [2, 2], padding };
    let shape = || vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
    assert_eq!(on_image("MaxPool", &[], shape()), Op::MaxPool(window(Padding::Valid)));
    let ceil = [shape(), vec![int("ceil_mode", 1)]].concat();
    let explicit = Padding::Explicit { before: [0, 0], after: [0, 0], ceil: true };
    assert_eq!(on_image("MaxPool", &[], ceil), Op::MaxPool(window(explicit)));
    let counted = [shape(), vec![text("auto_pad", "SAME_UPPER"), int("count_include_pad", 1)]].concat();
    let same = Op::AvgPool { window: window(Padding::Same), count_padding: true };
    assert_eq!(on_image("AveragePool", &[], counted), same);
    let lrn = vec![int("size", 5), float("alpha", 0.5), float("bias", 2.0)];
    assert_eq!(on_image("LRN", &[], lrn), Op::Lrn { radius: 2, bias: 2.0, alpha: 0.1, beta: 0.75 });
}

#[test]
fn bounds_are_attributes_in_old_versions_and_inputs_in_new_ones() {
    assert_eq!(on_image("Clip", &[], vec![float("min", 0.0), float("max", 6.0)]), Op::Relu6);
    assert_eq!(on_image("Clip", &[floats("low", &[], &[0.0])], vec![]), Op::Relu);
    let both = [floats("low", &[], &[-1.0]), floats("high", &[], &[0.5])];
    assert_eq!(on_image("Clip", &both, vec![]), Op::Clip { low: -1.0, high: 0.5 });
    // An empty name stands for an input that is left out.
    let nodes = [node("Clip", "it", &["image", "", "high"], vec![])];
    let network = network(&nodes, &[floats("high", &[], &[0.5])]);
    assert_eq!(*op(&network, "it"), Op::Clip { low: f32::NEG_INFINITY, high: 0.5 });
    assert_eq!(on_image("LeakyRelu", &[], vec![]), Op::LeakyRelu { slope: 0.01 });
}

#[test]
fn constants_beside_a_layer_are_scales_and_biases() {
    let three = |name: &str| floats(name, &[3, 1, 1], &[1.0, 2.0, 4.0]);
    let list = |values: [f32; 3]| Array::new(vec![3], values.to_vec()).unwrap();
    assert_eq!(on_image("Add", &[three("c")], vec![]), Op::BiasAdd { bias: list([1.0, 2.0, 4.0]) });
    assert_eq!(on_image("Sub", &[three("c")], vec![]), Op::BiasAdd { bias: list([-1.0, -2.0, -4.0]) });
    let scale = |values| Op::Scale { scale: list(values), bias: None };
    assert_eq!(on_image("Mul", &[floats("c", &[], &[2.0])], vec![]), scale([2.0; 3]));
    assert_eq!(on_image("Div", &[three("c")], vec![]), scale([1.0, 0.5, 0.25]));
    // [3] goes along the columns.
    let error = refusal(&[node("Add", "it", &["image", "c"], vec![])], &[floats("c", &[3], &[0.0; 3])]);
    assert!(
        error.contains("\"it\" (Add): a constant of the shape [3] is not one value for each of 3 channels")
    );
    // With further dimensions it goes along the channels.
    let nodes = [
        node("Unsqueeze", "column", &["c"], vec![ints("axes", &[1, 2])]),
        node("Mul", "it", &["image", "column"], vec![]),
    ];
    let network = network(&nodes, &[floats("c", &[3], &[1.0, 2.0, 4.0])]);
    assert_eq!(*op(&network, "it"), scale([1.0, 2.0, 4.0]));
    let statistics = ["scale", "offset", "mean", "variance"].map(|name| floats(name, &[3], &[2.0; 3]));
    let Op::Scale { scale, bias } = on_image("BatchNormalization", &statistics, vec![float("epsilon", 2.0)])
    else {
        panic!("no scale")
    };
    assert_eq!((&*scale.data, &*bias.unwrap().data), (&[1.0; 3][..], &[0.0; 3][..]));
}

#[test]
fn rows_are_as_long_as_what_reads_them_needs() {
    let weight = [floats("w", &[12, 2], &[0.0; 24]), floats("b", &[2], &[1.0, 2.0])];
    let nodes = [
        node("Flatten", "rows", &["image"], vec![]),
        node("Gemm", "logits", &["rows", "w", "b"], vec![float("beta", 2.0)]),
    ];
    let found = network(&nodes, &weight);
    assert_eq!(*op(&found, "rows"), Op::Flatten { features: 12, channels_first: true });
    assert!(matches!(op(&found, "logits/product"), Op::MatMul { .. }));
    let Op::BiasAdd { bias } = op(&found, "logits") else { panic!("no bias") };
    assert_eq!(*bias.data, [2.0, 4.0]);
    // Else as the size that the file was made for makes them.
    let sized = file(vec![input("image", &[1, 3, 4, 5])], &nodes[..1], &[], 13);
    assert_eq!(*op(&import(sized).unwrap(), "rows"), Op::Flatten { features: 60, channels_first: true });
    assert!(refusal(&nodes[..1], &[]).contains("depends on the size of the image"));
    // As PyTorch has written x.view(x.size(0), -1).
    let view = [
        node("Shape", "shape", &["image"], vec![]),
        node("Gather", "count", &["shape", "zero"], vec![int("axis", 0)]),
        node("Unsqueeze", "list", &["count"], vec![ints("axes", &[0])]),
        node("Concat", "new", &["list", "rest"], vec![int("axis", 0)]),
        node("Reshape", "rows", &["image", "new"], vec![]),
        node("MatMul", "product", &["rows", "w"], vec![]),
    ];
    let zero = TensorProto { dims: vec![], ..integers("zero", &[0]) };
    let weights = [zero, integers("rest", &[-1]), weight[0].clone()];
    assert_eq!(*op(&network(&view, &weights), "rows"), Op::Flatten { features: 12, channels_first: true });
}

#[test]
fn gates_and_channels_in_either_place_are_followed() {
    let nodes = [
        node("Transpose", "last", &["image"], vec![ints("perm", &[0, 2, 3, 1])]),
        node("Relu", "relu", &["last"], vec![]),
        node("Concat", "both", &["relu", "last"], vec![int("axis", 3)]),
        node("Transpose", "first", &["both"], vec![ints("perm", &[0, 3, 1, 2])]),
        node("ReduceMean", "mean", &["first"], vec![ints("axes", &[-1, -2]), int("keepdims", 0)]),
        node("Unsqueeze", "map", &["mean", "axes"], vec![]),
        node("Mul", "gated", &["first", "map"], vec![]),
        node("Squeeze", "rows", &["map", "axes"], vec![]),
    ];
    let network = network(&nodes, &[integers("axes", &[2, 3])]);
    let shapes = network.shapes(&[network.find("gated").unwrap()], 8, 9).unwrap();
    let last = shapes[network.find("gated").unwrap().0];
    assert_eq!(last, Some(Shape::Map { channels: 6, height: 8, width: 9 }));
    assert_eq!(*op(&network, "rows"), Op::Flatten { features: 6, channels_first: true });
    // A network that wants its image like that.
    let nhwc = file(vec![input("image", &[-1, 20, 30, 3])], &nodes[..1], &[], 13);
    assert!(import(nhwc).unwrap_err().to_string().contains("perm is [0, 2, 3, 1]"));
    let back = [node("Transpose", "first", &["image"], vec![ints("perm", &[0, 3, 1, 2])])];
    assert!(import(file(vec![input("image", &[-1, 20, 30, 3])], &back, &[], 13)).is_ok());
}

#[test]
fn in_old_versions_a_softmax_is_over_all_that_follows() {
    let nodes = [
        node("GlobalAveragePool", "pool", &["image"], vec![]),
        node("Relu", "relu", &["pool"], vec![]),
        node("Softmax", "of_one", &["relu"], vec![]),
        node("Softmax", "of_many", &["image"], vec![int("axis", 1)]),
    ];
    let old = import(file(image(), &nodes, &[], 9)).unwrap();
    assert_eq!(*op(&old, "of_one"), Op::Softmax);
    let error = old.find("of_many").unwrap_err().to_string();
    assert!(error.contains("along axis 1 of a map is not supported"), "{error}");
    assert!(network(&nodes, &[]).find("of_many").is_ok());
}

#[test]
fn weights_may_come_from_nodes() {
    let value = AttributeProto { t: Some(floats("", &[1], &[0.25])), ..attribute("value", kind::TENSOR) };
    let shape = AttributeProto { t: Some(integers("", &[2, 3, 1, 1])), ..attribute("value", kind::TENSOR) };
    let nodes = [
        node("Constant", "shape", &[], vec![shape]),
        node("ConstantOfShape", "w", &["shape"], vec![value]),
        node("Conv", "it", &["image", "w"], vec![]),
    ];
    let network = network(&nodes, &[]);
    assert_eq!(network.nodes().len(), 2, "constants are no layers");
    let Op::Conv2d { weight, .. } = op(&network, "it") else { panic!("no convolution") };
    assert_eq!((&weight.shape[..], &*weight.data), (&[2, 3, 1, 1][..], &[0.25][..]));
    // What one value stands for takes no memory, but it is no more than a network may have, however often it is read.
    let conv = |name| node("Conv", name, &["image", "w"], vec![]);
    let nodes = [node("ConstantOfShape", "w", &["shape"], vec![]), conv("once"), conv("twice")];
    let of_outer = |outer| import(file(image(), &nodes, &[integers("shape", &[outer, 3, 64, 64])], 13));
    assert!(of_outer(1 << 13).is_ok());
    let error = of_outer(1 << 14).unwrap_err().to_string();
    assert!(
        error.starts_with("node \"twice\" (Conv): the weights have more values than a model may have"),
        "{error}"
    );
}

#[test]
fn an_unknown_node_takes_only_its_readers_with_it() {
    let mut pooled = node("MaxPool", "pool", &["image"], vec![ints("kernel_shape", &[2, 2])]);
    pooled.output.push("indices".into());
    let nodes = [
        node("Relu", "good", &["image"], vec![]),
        node("Einsum", "odd", &["good"], vec![]),
        node("Relu", "behind", &["odd"], vec![]),
        pooled,
        node("Relu", "of_indices", &["indices"], vec![]),
        node("Relu", "broken", &["nowhere"], vec![]),
        NodeProto { domain: "com.microsoft".into(), ..node("Relu", "foreign", &["good"], vec![]) },
        node("Relu", "leaky", &["good"], vec![float("alpha", 1.0)]),
    ];
    let network = network(&nodes, &[]);
    let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["image", "good", "pool"]);
    let why = |name: &str| network.find(name).unwrap_err().to_string();
    assert!(why("behind").ends_with("node \"odd\": the operation Einsum is not supported"));
    assert!(why("of_indices").contains("\"indices\" is not the first output of its node"));
    assert!(why("broken").contains("reads \"nowhere\", which is not in the file"));
    assert!(why("foreign").contains("the operation com.microsoft.Relu is not supported"));
    assert!(why("leaky").contains("the attribute \"alpha\" is not known"));
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let relu = [node("Relu", "it", &["image"], vec![])];
    for version in [6, 23] {
        let error = import(file(image(), &relu, &[], version)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("version {version} of ONNX's operations; 7 to 22 are read")),
            "{error}"
        );
    }
    for (inputs, names) in [
        (vec![], "none"),
        (vec![input("text", &[1, 77])], "text"),
        (vec![input("a", &[1, 3, 8, 8]), input("b", &[1, 3, 8, 8])], "a, b"),
    ] {
        let error = import(file(inputs, &relu, &[], 13)).unwrap_err().to_string();
        assert!(error.ends_with(names) && error.contains("exactly one input"), "{error}");
    }
    // One of several inputs is the image, the others are not known.
    let both = vec![input("image", &[1, 3, 0, 0]), input("mask", &[1, 1, 0, 0])];
    assert!(import(file(both, &relu, &[], 13)).is_ok());
    let twice = [relu[0].clone(), relu[0].clone()];
    assert_eq!(refusal(&twice, &[]), "two nodes are called \"it\"");
    let short = floats("w", &[1, 3, 1, 1], &[1.0]);
    let error = refusal(&[node("Conv", "it", &["image", "w"], vec![])], &[short]);
    assert!(error.contains("shape is [1, 3, 1, 1], but the file holds 1 value(s)"), "{error}");
    let whole = file(image(), &relu, &[], 13);
    for end in 0..whole.len() {
        // Cut between two fields it is a file of less.
        let _ = import(whole[..end].to_vec());
    }
    assert!(import(b"\x08\x08".to_vec()).is_err());
    assert!(is_onnx(&[8, 8, 18]) && !is_onnx(&[8, 1, 18]) && !is_onnx(&[10, 8]));
    assert_eq!(NodeId(0), import(whole).unwrap().input());
}
