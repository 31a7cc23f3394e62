//! Constants that are computed at import, batch normalisation in its four spellings, padding, shapes made of shapes.

use super::*;

/// A map of 3 channels, followed by constants and what is computed from them.
fn after(nodes: &[NodeDef]) -> Network {
    network(&[&[image()], nodes].concat())
}

fn three(name: &str, values: [f32; 3]) -> NodeDef {
    floats(name, &[3], values)
}

fn scalar(name: &str, value: f32) -> NodeDef {
    floats(name, &[], [value])
}

/// What a node multiplies by and adds, as far as it is a scale or a bias.
fn affine(network: &Network, name: &str) -> (Vec<f32>, Vec<f32>) {
    match op(network, name) {
        Op::Scale { scale, bias } => {
            let bias = bias.as_ref().map_or_else(|| vec![0.0; 3], |bias| bias.data.to_vec());
            (scale.data.to_vec(), bias)
        }
        Op::BiasAdd { bias } => (vec![1.0; 3], bias.data.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn close(found: &[f32], expected: [f32; 3]) {
    let error =
        found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
    assert!(found.len() == 3 && error < 1e-5, "{found:?}, {expected:?}");
}

const MEAN: [f32; 3] = [0.5, -1.0, 2.0];
const VARIANCE: [f32; 3] = [0.25, 4.0, 1.0];
const OFFSET: [f32; 3] = [1.0, 2.0, 3.0];
const SCALE: [f32; 3] = [2.0, -1.0, 0.5];

fn statistics() -> Vec<NodeDef> {
    vec![three("mean", MEAN), three("variance", VARIANCE), three("offset", OFFSET), three("scale", SCALE)]
}

#[test]
fn batch_normalisation_is_one_scale_in_all_its_spellings() {
    let factor = |index: usize| SCALE[index] / (VARIANCE[index] + 0.01).sqrt();
    let factors = [0, 1, 2].map(factor);
    let offsets = [0, 1, 2].map(|index| OFFSET[index] - MEAN[index] * factors[index]);
    let fused = ["scale", "offset", "mean", "variance"];
    for name in ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"] {
        let inputs = [&["image"], &fused[..]].concat();
        let attrs = [
            ("epsilon", Attr::Float(0.01)),
            ("is_training", Attr::Bool(false)),
            ("U", Attr::Type(DT_FLOAT)),
            ("data_format", text("NHWC")),
        ];
        let network = after(&[statistics(), vec![node("it", name, &inputs, &attrs)]].concat());
        let (scale, bias) = affine(&network, "it");
        close(&scale, factors);
        close(&bias, offsets);
        let trained = node("it", name, &inputs, &[("epsilon", Attr::Float(0.01))]);
        let error = refusal(&[vec![image()], statistics(), vec![trained]].concat());
        assert!(error.contains("is_training is set"), "{error}");
    }
    let inputs = ["image", "mean", "variance", "offset", "scale"];
    for scales in [true, false] {
        let attrs =
            [("variance_epsilon", Attr::Float(0.01)), ("scale_after_normalization", Attr::Bool(scales))];
        let old = node("it", "BatchNormWithGlobalNormalization", &inputs, &attrs);
        let network = after(&[statistics(), vec![old]].concat());
        let (scale, bias) = affine(&network, "it");
        let plain =
            [0, 1, 2].map(|index| if scales { factors[index] } else { factors[index] / SCALE[index] });
        close(&scale, plain);
        close(&bias, [0, 1, 2].map(|index| OFFSET[index] - MEAN[index] * plain[index]));
    }
    // Written out, as `tf.nn.batch_normalization` does: x · m + (offset − mean · m), m = rsqrt(variance + ε) · scale.
    let unfused = [
        scalar("epsilon", 0.01),
        node("add", "Add", &["variance", "epsilon"], &[]),
        node("rsqrt", "Rsqrt", &["add"], &[]),
        node("mul", "Mul", &["rsqrt", "scale"], &[]),
        node("mul_1", "Mul", &["image", "mul"], &[]),
        node("mul_2", "Mul", &["mean", "mul"], &[]),
        node("sub", "Sub", &["offset", "mul_2"], &[]),
        node("it", "Add", &["mul_1", "sub"], &[]),
    ];
    let network = after(&[statistics(), unfused.to_vec()].concat());
    close(&affine(&network, "mul_1").0, factors);
    close(&affine(&network, "it").1, offsets);
    assert_eq!(network.nodes().len(), 3, "what is computed from constants is no layer");
}

#[test]
fn a_constant_beside_a_layer_is_a_scale_a_bias_or_a_bound() {
    let of = |name: &str, inputs: &[&str]| {
        let constants = [three("c", [1.0, 2.0, 4.0]), scalar("half", 0.5), scalar("zero", 0.0)];
        let network = after(&[&constants[..], &[node("it", name, inputs, &[])]].concat());
        op(&network, "it").clone()
    };
    let array = |values: [f32; 3]| Array::new(vec![3], values.to_vec()).unwrap();
    let bias = |values| Op::BiasAdd { bias: array(values) };
    let scale = |values| Op::Scale { scale: array(values), bias: None };
    assert_eq!(of("Add", &["image", "c"]), bias([1.0, 2.0, 4.0]));
    assert_eq!(of("AddV2", &["half", "image"]), bias([0.5; 3]));
    assert_eq!(of("Sub", &["image", "c"]), bias([-1.0, -2.0, -4.0]));
    let from = Op::Scale { scale: array([-1.0; 3]), bias: Some(array([1.0, 2.0, 4.0])) };
    assert_eq!(of("Sub", &["c", "image"]), from);
    assert_eq!(of("Mul", &["c", "image"]), scale([1.0, 2.0, 4.0]));
    assert_eq!(of("RealDiv", &["image", "c"]), scale([1.0, 0.5, 0.25]));
    assert_eq!(of("Neg", &["image"]), scale([-1.0; 3]));
    assert_eq!(of("Maximum", &["image", "zero"]), Op::Relu);
    assert_eq!(of("Maximum", &["half", "image"]), Op::Clip { low: 0.5, high: f32::INFINITY });
    assert_eq!(of("Minimum", &["image", "half"]), Op::Clip { low: f32::NEG_INFINITY, high: 0.5 });
    assert_eq!(of("Mul", &["image", "image"]), Op::Multiply);
    // max(x, x / 2), a leaky ReLU of the time before there was one.
    let nodes = [
        scalar("half", 0.5),
        node("part", "Mul", &["half", "image"], &[]),
        node("it", "Maximum", &["part", "image"], &[]),
    ];
    let network = after(&nodes);
    assert_eq!(*op(&network, "it"), Op::LeakyRelu { slope: 0.5 });
    assert_eq!(network.node(network.find("it").unwrap()).inputs, [network.input()]);
}

#[test]
fn zeros_before_a_convolution_are_its_padding() {
    let sides = |around: &[i32]| {
        constant("sides", {
            let tensor_shape = Some(shape(&[4, 2]));
            TensorProto { dtype: DT_INT32, tensor_shape, int_val: around.to_vec(), ..Default::default() }
        })
    };
    let padded = |around: &[i32], padding| {
        let mut nodes = conv(&[("padding", text(padding))]);
        nodes[2].input[0] = "pad".into();
        nodes.extend([
            sides(around),
            node("pad", "Pad", &["image", "sides"], &[("Tpaddings", Attr::Type(DT_INT32))]),
        ]);
        network(&nodes)
    };
    let of = |network: &Network| match op(network, "conv") {
        Op::Conv2d { padding, .. } => {
            (*padding, network.node(network.node(network.find("conv").unwrap()).inputs[0]).name.clone())
        }
        other => panic!("{other:?}"),
    };
    // The kernel is one high and two wide.
    let (padding, reads) = of(&padded(&[0, 0, 0, 0, 1, 0, 0, 0], "VALID"));
    assert_eq!(padding, Padding::Explicit { before: [0, 1], after: [0, 0], ceil: false });
    assert_eq!(reads, "image");
    // More than that, or padding on top of it, stays apart.
    assert_eq!(of(&padded(&[0, 0, 1, 1, 0, 0, 0, 0], "VALID")), (Padding::Valid, "pad".into()));
    assert_eq!(of(&padded(&[0, 0, 0, 0, 1, 0, 0, 0], "SAME")), (Padding::Same, "pad".into()));
    let network = padded(&[0, 0, 1, 2, 3, 4, 0, 0], "SAME");
    assert_eq!(*op(&network, "pad"), Op::Pad { before: [1, 3], after: [2, 4] });
    let explicit =
        conv(&[("padding", text("EXPLICIT")), ("explicit_paddings", ints(&[0, 0, 0, 0, 0, 1, 0, 0]))]);
    let network = super::network(&explicit);
    assert_eq!(of(&network).0, Padding::Explicit { before: [0, 0], after: [0, 1], ceil: false });
}

#[test]
fn a_shape_may_be_put_together_from_the_shape_of_a_layer() {
    let one = |name: &str, value| integers(name, &[value]);
    let single = |name: &str, value: i32| {
        constant(name, TensorProto { dtype: DT_INT32, int_val: vec![value], ..Default::default() })
    };
    let typed = ("T", Attr::Type(DT_INT32));
    let nodes = [
        node("shape", "Shape", &["image"], &[("out_type", Attr::Type(DT_INT32))]),
        one("zero", 0),
        one("one", 1),
        node(
            "batch",
            "StridedSlice",
            &["shape", "zero", "one", "one"],
            &[typed.clone(), ("shrink_axis_mask", Attr::Int(1))],
        ),
        single("length", 12),
        node("new", "Pack", &["batch", "length"], &[typed, ("N", Attr::Int(2))]),
        node("it", "Reshape", &["image", "new"], &[]),
    ];
    assert_eq!(*op(&after(&nodes), "it"), Op::Flatten { features: 12, channels_first: false });
    // A row as long as what reads it needs.
    let nodes = [
        integers("new", &[-1, -1]),
        floats("weight", &[6, 2], counting(12)),
        node("it", "Reshape", &["image", "new"], &[]),
        node("product", "MatMul", &["it", "weight"], &[]),
    ];
    let mut nodes = nodes.to_vec();
    nodes[0] = integers("new", &[1, -1]);
    assert_eq!(*op(&after(&nodes), "it"), Op::Flatten { features: 6, channels_first: false });
    nodes.truncate(3);
    assert!(refusal(&[vec![image()], nodes].concat()).contains("depends on the size of the image"));
}

#[test]
fn rows_and_maps_of_one_position_become_each_other() {
    let axes = integers("axes", &[1, 2]);
    let keep = [("keep_dims", Attr::Bool(true))];
    let nodes = [
        axes,
        node("pool", "Mean", &["image", "axes"], &keep),
        node("row", "Squeeze", &["pool"], &[("squeeze_dims", ints(&[1, 2]))]),
        node("mean", "Mean", &["image", "axes"], &[]),
        integers("new", &[-1, 1, 1, 3]),
        node("map", "Reshape", &["mean", "new"], &[]),
        node("gated", "Mul", &["image", "map"], &[]),
    ];
    let network = after(&nodes);
    assert_eq!(*op(&network, "pool"), Op::GlobalAvgPool);
    assert_eq!(*op(&network, "row"), Op::Flatten { features: 3, channels_first: false });
    assert_eq!([op(&network, "mean"), op(&network, "map")], [&Op::SpatialMean, &Op::AsMap]);
    let shapes = network.shapes(&[network.find("gated").unwrap()], 8, 9).unwrap();
    assert_eq!(
        shapes.last().copied().flatten(),
        Some(reverie_graph::Shape::Map { channels: 3, height: 8, width: 9 })
    );
}

#[test]
fn folding_is_bounded() {
    // Two constants of a short file that multiply each other's extents.
    let side = |name: &str, dims: &[i64]| {
        let tensor_shape = Some(shape(dims));
        constant(
            name,
            TensorProto { dtype: DT_FLOAT, tensor_shape, float_val: vec![1.0], ..Default::default() },
        )
    };
    let nodes = [
        image(),
        side("a", &[1 << 15, 1]),
        side("b", &[1, 1 << 15]),
        node("product", "Mul", &["a", "b"], &[]),
    ];
    let error = translate(&nodes).unwrap_err().to_string();
    assert!(error.contains("node \"product\" (Mul): the weights have too many values"), "{error}");
    // A list that doubles.
    let mut nodes = vec![image(), integers("l0", &[1, 2, 3]), integers("axis", &[0])];
    for index in 0..40 {
        let (from, to) = (format!("l{index}"), format!("l{}", index + 1));
        nodes.push(node(&to, "ConcatV2", &[&from, &from, "axis"], &[("T", Attr::Type(DT_INT32))]));
    }
    assert!(refusal(&nodes).contains("more than 16 integers"));
}
