//! Small graphs built in code: what is translated to what, and every refusal.

use prost::Message;

mod folding;
mod opaque;
mod refusals;

use super::{
    super::{
        ImportError,
        graphdef::{
            AttrValue, DT_FLOAT, DT_INT32, Dim, GraphDef, ListValue, NodeDef, TensorProto, TensorShapeProto,
            Value as Attr,
        },
    },
    *,
};
use reverie_graph::{Array, GraphError, NodeId, Op, Padding, Window};

fn text(value: &'static str) -> Attr {
    Attr::Text(value.into())
}

fn ints(values: &[i64]) -> Attr {
    Attr::List(ListValue { ints: values.to_vec() })
}

fn shape(dims: &[i64]) -> TensorShapeProto {
    TensorShapeProto { dim: dims.iter().map(|&size| Dim { size }).collect(), unknown_rank: false }
}

/// A node; everything but constants and placeholders gets the type that TensorFlow always writes.
fn node(name: &str, op: &str, inputs: &[&str], attrs: &[(&str, Attr)]) -> NodeDef {
    let mut attr: Vec<(&str, Attr)> = attrs.to_vec();
    if !["Const", "Placeholder"].contains(&op) && !attrs.iter().any(|(name, _)| *name == "T") {
        attr.push(("T", Attr::Type(DT_FLOAT)));
    }
    NodeDef {
        name: name.into(),
        op: op.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        attr: attr.into_iter().map(|(name, value)| (name.into(), AttrValue { value: Some(value) })).collect(),
    }
}

fn image() -> NodeDef {
    node(
        "image",
        "Placeholder",
        &[],
        &[("dtype", Attr::Type(DT_FLOAT)), ("shape", Attr::Shape(shape(&[-1, -1, -1, 3])))],
    )
}

fn constant(name: &str, tensor: TensorProto) -> NodeDef {
    node(name, "Const", &[], &[("dtype", Attr::Type(tensor.dtype)), ("value", Attr::Tensor(tensor))])
}

fn floats(name: &str, dims: &[i64], values: impl IntoIterator<Item = f32>) -> NodeDef {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    let tensor_shape = Some(shape(dims));
    constant(
        name,
        TensorProto { dtype: DT_FLOAT, tensor_shape, tensor_content: bytes.into(), ..Default::default() },
    )
}

fn integers(name: &str, values: &[i32]) -> NodeDef {
    let tensor_shape = Some(shape(&[values.len() as i64]));
    constant(
        name,
        TensorProto { dtype: DT_INT32, tensor_shape, int_val: values.to_vec(), ..Default::default() },
    )
}

fn counting(count: usize) -> impl Iterator<Item = f32> {
    (0..count).map(|value| value as f32)
}

/// The image, a constant kernel and a convolution that uses it, with the given attributes changed.
fn conv(changes: &[(&str, Attr)]) -> Vec<NodeDef> {
    let mut conv = node(
        "conv",
        "Conv2D",
        &["image", "kernel"],
        &[("strides", ints(&[1, 2, 1, 1])), ("padding", text("SAME")), ("data_format", text("NHWC"))],
    );
    for (name, value) in changes {
        conv.attr.insert((*name).into(), AttrValue { value: Some(value.clone()) });
    }
    vec![image(), floats("kernel", &[1, 2, 3, 2], counting(12)), conv]
}

fn encode(nodes: &[NodeDef]) -> Vec<u8> {
    GraphDef { node: nodes.iter().map(|node| node.encode_to_vec().into()).collect() }.encode_to_vec()
}

fn network(nodes: &[NodeDef]) -> Network {
    import(encode(nodes)).unwrap()
}

fn refusal(nodes: &[NodeDef]) -> String {
    import(encode(nodes)).unwrap_err().to_string()
}

fn op<'a>(network: &'a Network, name: &str) -> &'a Op {
    &network.node(network.find(name).unwrap()).op
}

/// The operation of a node that reads the image, followed by `constants`.
fn op_on_image(name: &str, constants: &[NodeDef], attrs: &[(&str, Attr)]) -> Op {
    let inputs: Vec<&str> =
        std::iter::once("image").chain(constants.iter().map(|node| node.name.as_str())).collect();
    let mut nodes = vec![image(), node("it", name, &inputs, attrs)];
    nodes.extend_from_slice(constants);
    op(&network(&nodes), "it").clone()
}

#[test]
fn kernels_are_transposed() {
    let network = network(&conv(&[("dilations", ints(&[1, 3, 4, 1]))]));
    // [height 1, width 2, in 3, out 2] to [out, in, height, width].
    let expected = vec![0., 6., 2., 8., 4., 10., 1., 7., 3., 9., 5., 11.];
    let expected = Op::Conv2d {
        weight: Array::new(vec![2, 3, 1, 2], expected).unwrap(),
        bias: None,
        stride: [2, 1],
        dilation: [3, 4],
        padding: Padding::Same,
        groups: 1,
    };
    assert_eq!(*op(&network, "conv"), expected);
    let names: Vec<&str> = network.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["image", "conv"], "constants are not layers");

    let depthwise = op_on_image(
        "DepthwiseConv2dNative",
        &[floats("kernel", &[2, 1, 3, 2], counting(12))],
        &[("strides", ints(&[1, 1, 1, 1])), ("padding", text("VALID"))],
    );
    let Op::Conv2d { weight, groups, padding, dilation, .. } = depthwise else { panic!("{depthwise:?}") };
    assert_eq!((groups, padding, dilation), (3, Padding::Valid, [1, 1]));
    assert_eq!(weight.shape, [6, 1, 2, 1]);
    assert_eq!(*weight.data, [0., 6., 1., 7., 2., 8., 3., 9., 4., 10., 5., 11.]);
}

#[test]
fn a_mat_mul_is_transposed_where_it_says_so() {
    let head = |dims: &[i64], transpose_b| {
        let nodes = [
            image(),
            integers("axes", &[-2, 1]),
            node("mean", "Mean", &["image", "axes"], &[("Tidx", Attr::Type(DT_INT32))]),
            floats("weight", dims, counting(6)),
            node("it", "MatMul", &["mean", "weight"], &[("transpose_b", Attr::Bool(transpose_b))]),
        ];
        match op(&network(&nodes), "it") {
            Op::MatMul { weight } => (weight.shape.clone(), weight.data.to_vec()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(head(&[3, 2], false), (vec![3, 2], vec![0., 1., 2., 3., 4., 5.]));
    assert_eq!(head(&[2, 3], true), (vec![3, 2], vec![0., 3., 1., 4., 2., 5.]));
}

#[test]
fn attributes_are_read_or_have_tensorflows_defaults() {
    let defaults = Op::Lrn { radius: 5, bias: 1.0, alpha: 1.0, beta: 0.5 };
    assert_eq!(op_on_image("LRN", &[], &[]), defaults);
    let attrs = [
        ("depth_radius", Attr::Int(2)),
        ("bias", Attr::Float(2.0)),
        ("alpha", Attr::Float(1e-4)),
        ("beta", Attr::Float(0.75)),
    ];
    let read = Op::Lrn { radius: 2, bias: 2.0, alpha: 1e-4, beta: 0.75 };
    assert_eq!(op_on_image("LRN", &[], &attrs), read);
    let attrs =
        [("ksize", ints(&[1, 3, 2, 1])), ("strides", ints(&[1, 2, 1, 1])), ("padding", text("VALID"))];
    let window = Window { kernel: [3, 2], stride: [2, 1], padding: Padding::Valid };
    assert_eq!(op_on_image("MaxPool", &[], &attrs), Op::MaxPool(window));
    assert_eq!(op_on_image("AvgPool", &[], &attrs), Op::AvgPool { window, count_padding: false });
    let rows = Op::Flatten { features: 12, channels_first: false };
    assert_eq!(op_on_image("Reshape", &[integers("new", &[-1, 12])], &[]), rows);
    assert_eq!(op_on_image("LeakyRelu", &[], &[]), Op::LeakyRelu { slope: 0.2 });
}

#[test]
fn the_order_in_the_file_means_nothing() {
    let mut nodes = conv(&[]);
    nodes.push(integers("axis", &[3]));
    nodes.push(node("first", "Concat", &["axis", "conv:0", "conv", "^image"], &[("N", Attr::Int(2))]));
    nodes.push(node("last", "ConcatV2", &["conv", "first", "axis"], &[]));
    let forward = network(&nodes);
    nodes.reverse();
    let backward = network(&nodes);
    for network in [forward, backward] {
        let width = |name| network.channels(network.find(name).unwrap());
        assert_eq!((width("conv"), width("first"), width("last")), (2, 4, 6));
    }
}

#[test]
fn weights_may_be_read_through_an_identity() {
    let mut nodes = conv(&[]);
    nodes[2].input[1] = "kernel/read".into();
    nodes.push(node("kernel/read", "Identity", &["kernel"], &[("_class", Attr::Bool(true))]));
    assert_eq!(network(&nodes).nodes().len(), 2);
}

#[test]
fn a_deep_graph_needs_no_deep_stack() {
    let mut nodes = vec![image()];
    for index in 0..50_000 {
        let input = nodes[index].name.clone();
        nodes.push(node(&format!("relu{index}"), "Relu", &[&input], &[]));
    }
    nodes.reverse();
    assert_eq!(network(&nodes).nodes().len(), 50_001);
    nodes.last_mut().unwrap().op = "Relu".into();
    nodes.last_mut().unwrap().input.push("relu49999".into());
    nodes.push(NodeDef { name: "other".into(), ..image() });
    nodes.iter_mut().for_each(|node| {
        node.attr.insert("T".into(), AttrValue { value: Some(Attr::Type(DT_FLOAT)) });
    });
    assert!(refusal(&nodes).contains("part of a cycle"));
}
