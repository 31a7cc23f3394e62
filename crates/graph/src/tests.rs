//! A network is checked once, when it is built; these are the checks, and the arithmetic of shapes.

use super::*;

fn node(name: &str, op: Op, inputs: &[usize]) -> Node {
    Node { name: name.into(), op, inputs: inputs.iter().copied().map(NodeId).collect() }
}

fn array(shape: &[usize]) -> Array {
    Array::new(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
}

fn conv(weight: &[usize], stride: usize, padding: Padding) -> Op {
    let weight = array(weight);
    Op::Conv2d { weight, bias: None, stride: [stride; 2], dilation: [1, 1], padding, groups: 1 }
}

fn window(kernel: usize, stride: usize, padding: Padding) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], padding }
}

fn input() -> Node {
    node("input", Op::Input { channels: 3 }, &[])
}

#[test]
fn same_padding_puts_the_odd_pixel_at_the_end() {
    // n, kernel, stride → out, before, after: TensorFlow's values.
    for (n, kernel, stride, expected) in [
        (224, 7, 2, (112, 2, 3)),
        (97, 7, 2, (49, 3, 3)),
        (5, 3, 2, (3, 1, 1)),
        (6, 3, 2, (3, 0, 1)),
        (4, 1, 2, (2, 0, 0)),
        (1, 5, 2, (1, 2, 2)),
    ] {
        assert_eq!(Padding::Same.resolve(0, n, kernel, stride), Some(expected), "{n}, {kernel}, {stride}");
    }
    assert_eq!(Padding::Valid.resolve(1, 7, 7, 1), Some((1, 0, 0)));
    assert_eq!(Padding::Valid.resolve(0, 6, 7, 1), None);
}

#[test]
fn shapes_channels_strides_and_receptive_fields_follow_the_wiring() {
    let network = Network::new(vec![
        input(),
        node("conv", conv(&[8, 3, 7, 7], 2, Padding::Same), &[0]),
        node("pool", Op::MaxPool(window(3, 2, Padding::Same)), &[1]),
        node("narrow", conv(&[4, 8, 1, 1], 1, Padding::Valid), &[2]),
        node("wide", conv(&[6, 8, 3, 3], 1, Padding::Same), &[2]),
        node("both", Op::Concat, &[3, 4]),
        node("mean", Op::SpatialMean, &[5]),
        node("logits", Op::MatMul { weight: array(&[10, 7]) }, &[6]),
    ])
    .unwrap();
    let both = network.find("both").unwrap();
    let shapes = network.shapes(&[both], 97, 131).unwrap();
    assert_eq!(shapes[both.0], Some(Shape::Map { channels: 10, height: 25, width: 33 }));
    assert_eq!(shapes[6], None, "what is not needed is not computed");
    let layers = network.layers();
    let both = layers.iter().find(|layer| layer.name == "both").unwrap();
    assert_eq!((both.channels, both.stride, both.receptive_field), (10, Some(4), Some(7 + 2 * 2 + 2 * 4)));
    let logits = layers.iter().find(|layer| layer.name == "logits").unwrap();
    assert_eq!((logits.kind, logits.channels, logits.stride), ("mat_mul", 7, None));
}

/// A chain of one operation on an image of `channels`; the shape it gives for an image of `height × width`.
fn shape_of(op: Op, height: usize, width: usize) -> Result<Shape, String> {
    let network = Network::new(vec![input(), node("it", op, &[0])]).map_err(|error| error.to_string())?;
    let shapes = network.shapes(&[NodeId(1)], height, width).map_err(|error| error.to_string())?;
    Ok(shapes[1].unwrap())
}

#[test]
fn explicit_padding_and_ceil_mode_are_those_of_pytorch() {
    let explicit = |before, after, ceil| Padding::Explicit { before: [before, 9], after: [after, 9], ceil };
    // n, kernel, stride, before, after, ceil → out, after: torch.nn.functional.{conv2d,max_pool2d}'s sizes.
    for (n, kernel, stride, before, after, ceil, expected) in [
        (224, 7, 2, 3, 3, false, (112, 3)),
        (224, 3, 2, 0, 1, false, (112, 1)),
        (112, 3, 2, 0, 0, true, (56, 1)),
        (13, 3, 2, 0, 0, true, (6, 0)),
        (14, 3, 2, 0, 0, true, (7, 1)),
        // The last window would begin in the padding after the map: it is left out.
        (2, 2, 2, 1, 1, true, (2, 1)),
        (3, 2, 2, 1, 1, true, (2, 1)),
        (3, 1, 4, 0, 0, true, (1, 0)),
    ] {
        let resolved = explicit(before, after, ceil).resolve(0, n, kernel, stride);
        let what = (n, kernel, stride, before, after, ceil);
        assert_eq!(resolved, Some((expected.0, before, expected.1)), "{what:?}");
    }
    assert_eq!(explicit(1, 1, true).resolve(0, 1, 4, 1), None);
    // Each axis has its own.
    let sides = Padding::Explicit { before: [0, 2], after: [1, 0], ceil: false };
    assert_eq!([sides.resolve(0, 8, 3, 1), sides.resolve(1, 8, 3, 1)], [Some((7, 0, 1)), Some((8, 2, 0))]);
    // A window that lies in the padding altogether has nothing to compute.
    let pool = Window { kernel: [2, 2], stride: [1, 1], padding: Padding::symmetric([2, 2]) };
    let error = shape_of(Op::MaxPool(pool), 5, 5).unwrap_err();
    assert!(error.contains("pads by [2, 2] and [2, 2]; a window of [2, 2] allows less"), "{error}");
    let mut conv = conv(&[4, 3, 3, 3], 2, Padding::symmetric([1, 1]));
    assert_eq!(shape_of(conv.clone(), 8, 9), Ok(Shape::Map { channels: 4, height: 4, width: 5 }));
    if let Op::Conv2d { padding, .. } = &mut conv {
        *padding = Padding::symmetric([3, 0]);
    }
    assert!(shape_of(conv, 8, 9).unwrap_err().contains("a window of [3, 3] allows less"));
}

#[test]
fn every_operation_has_its_shape_and_its_limits() {
    let map = |height, width| Ok(Shape::Map { channels: 3, height, width });
    let plain = [Op::Sigmoid, Op::Swish, Op::HardSwish, Op::Clip { low: -1.0, high: f32::INFINITY }];
    let scale = Op::Scale { scale: array(&[3]), bias: Some(array(&[3])) };
    for op in plain.into_iter().chain([scale, Op::LeakyRelu { slope: 0.1 }]) {
        assert_eq!(shape_of(op, 4, 5), map(4, 5));
    }
    assert_eq!(shape_of(Op::Pad { before: [1, 0], after: [2, 5] }, 4, 5), map(7, 10));
    assert_eq!(shape_of(Op::GlobalAvgPool, 4, 5), map(1, 1));
    for (op, problem) in [
        (Op::LeakyRelu { slope: -0.1 }, "the slope -0.1 must be at least 0"),
        (Op::LeakyRelu { slope: f32::NAN }, "must be at least 0"),
        (Op::Clip { low: 1.0, high: 1.0 }, "must be in order"),
        (Op::Clip { low: f32::NAN, high: 1.0 }, "must be in order"),
        (Op::Scale { scale: array(&[2]), bias: None }, "scale has shape [2], the input needs [3]"),
        (Op::Scale { scale: array(&[3]), bias: Some(array(&[1])) }, "bias has shape [1]"),
        (Op::Pad { before: [0, 257], after: [0, 0] }, "at most 256 a side"),
        (Op::AsMap, "needs rows, its input is a map of 3 channels"),
        (Op::Multiply, "has 1 inputs, needs 2"),
    ] {
        let error = shape_of(op, 4, 5).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_gate_of_one_position_multiplies_a_map() {
    let network = Network::new(vec![
        input(),
        node("wide", conv(&[4, 3, 3, 3], 2, Padding::Same), &[0]),
        node("pooled", Op::SpatialMean, &[1]),
        node("squeezed", Op::AsMap, &[2]),
        node("gate", conv(&[4, 4, 1, 1], 1, Padding::Valid), &[3]),
        node("gated", Op::Multiply, &[4, 1]),
        node("next", conv(&[4, 4, 3, 3], 2, Padding::Same), &[5]),
        node("wrong", Op::Multiply, &[5, 6]),
    ])
    .unwrap();
    let shapes = network.shapes(&[NodeId(6)], 17, 32).unwrap();
    assert_eq!(shapes[4], Some(Shape::Map { channels: 4, height: 1, width: 1 }));
    assert_eq!(shapes[5], Some(Shape::Map { channels: 4, height: 9, width: 16 }));
    // What it multiplies sees the whole image, but its positions stay as far apart.
    let layers = network.layers();
    let seen = |name: &str| {
        let layer = layers.iter().find(|layer| layer.name == name).unwrap();
        (layer.stride, layer.receptive_field)
    };
    assert_eq!(
        [seen("wide"), seen("gated"), seen("next")],
        [(Some(2), Some(3)), (Some(2), None), (Some(4), None)]
    );
    assert_eq!(seen("gate"), (None, None));
    assert_eq!(network.stride(&[NodeId(6)]), 4);
    let error = network.shapes(&[NodeId(7)], 17, 32).unwrap_err().to_string();
    assert!(error.contains("\"wrong\"") && error.contains("multiplies Map"), "{error}");
}

#[test]
fn a_layer_that_was_left_out_says_why() {
    let network = Network::new(vec![input(), node("features", Op::Relu, &[0])]).unwrap();
    let reason: Arc<str> = "node \"odd\": the operation Elu is not supported".into();
    let network = network.without(BTreeMap::from([("head".to_owned(), reason)]));
    let error = network.find("head").unwrap_err().to_string();
    assert_eq!(
        error,
        "the layer \"head\" is not available: node \"odd\": the operation Elu is not supported"
    );
    assert!(network.find("features").is_ok() && network.left_out().len() == 1);
}

#[test]
fn a_layer_too_large_for_the_image_is_named() {
    let pool = Op::AvgPool { window: window(7, 1, Padding::Valid), count_padding: false };
    let network = Network::new(vec![
        input(),
        node("pool", pool, &[0]),
        node("rows", Op::Flatten { features: 9, channels_first: false }, &[0]),
    ])
    .unwrap();
    let error = network.shapes(&[network.find("pool").unwrap()], 6, 9).unwrap_err().to_string();
    assert!(error.contains("\"pool\"") && error.contains("9×6") && error.contains("7×7"), "{error}");
    let error = network.shapes(&[network.find("rows").unwrap()], 2, 2).unwrap_err().to_string();
    assert!(error.contains("12 values do not divide into rows of 9"), "{error}");
}

#[test]
fn an_unknown_layer_brings_the_closest_names() {
    let network = Network::new(vec![
        input(),
        node("mixed4c", Op::Relu, &[0]),
        node("mixed4d", Op::Relu, &[1]),
        node("other", Op::Relu, &[2]),
    ])
    .unwrap();
    let error = network.find("mixd4c").unwrap_err();
    assert_eq!(error.nearest[..2], ["mixed4c", "mixed4d"]);
    assert!(
        error.to_string().starts_with("there is no layer \"mixd4c\"; the closest are mixed4c"),
        "{error}"
    );
}

#[test]
fn a_layer_is_found_by_its_aliases_and_a_name_of_its_own_wins() {
    let network =
        Network::new(vec![input(), node("mixed4c", Op::Relu, &[0]), node("fc", Op::Relu, &[1])]).unwrap();
    let aliases = [("inception4c", 1), ("inception_4c/output", 1), ("fc", 1), ("nowhere", 9)];
    let network = network.with_aliases(aliases.map(|(name, id)| (name.to_owned(), NodeId(id))));
    assert_eq!(network.find("inception4c"), Ok(NodeId(1)));
    assert_eq!(network.find("inception_4c/output"), Ok(NodeId(1)));
    assert_eq!(network.find("fc"), Ok(NodeId(2)));
    assert!(network.find("nowhere").is_err());
    // Of a layer with three names the closest is suggested.
    assert_eq!(network.find("Inception4d").unwrap_err().nearest, ["inception4c", "input", "fc"]);
}

#[test]
fn a_layer_is_found_by_what_is_shown_of_its_name() {
    let names = ["con\u{1b}0", "plain", "\u{7}", "\\u{7}", "a\u{1b}\\u{7}", "a\\u{1b}\u{7}"];
    let nodes = names.iter().enumerate().map(|(index, name)| node(name, Op::Relu, &[index]));
    let network = Network::new(std::iter::once(input()).chain(nodes).collect()).unwrap().with_visible_names();
    assert_eq!(network.find("con\\u{1b}0"), Ok(NodeId(1)));
    assert_eq!((network.own_name("con\\u{1b}0"), network.own_name("plain")), (Ok("con\u{1b}0"), Ok("plain")));
    // A name of its own wins, and what may be two is refused.
    assert_eq!((network.find("\u{7}"), network.find("\\u{7}")), (Ok(NodeId(3)), Ok(NodeId(4))));
    let told = network.find("a\\u{1b}\\u{7}").unwrap_err().to_string();
    assert!(told.contains("it may mean \"a\\u{1b}\\u{7}\" or \"a\\u{1b}\\u{7}\""), "{told}");
    let told = network.find("conv0\u{1b}").unwrap_err().to_string();
    let expected = "there is no layer \"conv0\\u{1b}\"; the closest are con\\u{1b}0, ";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn the_fewest_keystrokes_are_the_closest() {
    let names = ["conv1", "conv10", "block10", "xblock1"];
    let nodes = names.iter().enumerate().map(|(index, name)| node(name, Op::Relu, &[index]));
    let network = Network::new(std::iter::once(input()).chain(nodes).collect()).unwrap();
    // A letter too few, two that changed places, capitals.
    for (wrong, right) in [("blck10", "block10"), ("cnov1", "conv1"), ("CONV10x", "conv10")] {
        assert_eq!(network.find(wrong).unwrap_err().nearest[0], right, "{wrong}");
    }
}

#[test]
fn malformed_networks_are_refused_by_name() {
    let refused = |nodes: Vec<Node>| Network::new(nodes).unwrap_err().to_string();
    assert!(refused(vec![]).contains("exactly one input"));
    assert!(refused(vec![input(), node("second", Op::Input { channels: 3 }, &[])]).contains("has 2"));
    assert!(refused(vec![input(), node("input", Op::Relu, &[0])]).contains("\"input\""));
    assert!(refused(vec![input(), node("loop", Op::Relu, &[1])]).contains("does not precede"));
    for (op, inputs, problem) in [
        (conv(&[8, 4, 3, 3], 1, Padding::Same), vec![0], "does not fit an input of 3 channels"),
        (conv(&[8, 3, 3], 1, Padding::Same), vec![0], "needs [out, in, height, width]"),
        (conv(&[8, 3, 3, 3], 0, Padding::Same), vec![0], "at least 1"),
        (Op::BiasAdd { bias: array(&[4]) }, vec![0], "needs [3]"),
        (Op::MatMul { weight: array(&[3, 4]) }, vec![0], "a map of 3 channels"),
        (Op::Relu, vec![], "has 0 inputs, needs 1"),
        (Op::Add, vec![0], "has 1 inputs, needs 2"),
        (Op::Concat, vec![], "no inputs"),
        (Op::Lrn { radius: 1, bias: f32::NAN, alpha: 1.0, beta: 1.0 }, vec![0], "must be finite"),
        (Op::MaxPool(window(0, 1, Padding::Same)), vec![0], "at least 1"),
    ] {
        let error = refused(vec![input(), node("bad", op, &inputs)]);
        assert!(error.contains("\"bad\"") && error.contains(problem), "{error}");
    }
}

/// A chain: the image, then each operation, reading the one before it so many times.
fn chain(ops: impl IntoIterator<Item = (Op, usize)>) -> Result<Network, GraphError> {
    let mut nodes = vec![input()];
    for (index, (op, reads)) in ops.into_iter().enumerate() {
        nodes.push(node(&format!("n{index}"), op, &vec![index; reads]));
    }
    Network::new(nodes)
}

#[test]
fn absurd_windows_are_refused() {
    let dilated = |factor| {
        let mut op = conv(&[1, 3, 3, 3], 1, Padding::Same);
        if let Op::Conv2d { dilation, .. } = &mut op {
            *dilation = [factor, 1];
        }
        op
    };
    assert!(chain([(dilated(30_000), 1)]).is_ok());
    for (op, problem) in [
        (dilated(40_000), "dilated kernel extents must be at most 65536"),
        (conv(&[1, 3, 1, 1], 65_537, Padding::Same), "strides and dilations must be at most 65536"),
        (Op::MaxPool(window(65_537, 1, Padding::Same)), "window extents and strides must be at most"),
    ] {
        let error = chain([(op, 1)]).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn strides_multiply_and_widths_add_up_without_overflow() {
    let pool = Op::MaxPool(window(MAX_EXTENT, MAX_EXTENT, Padding::Same));
    let network = chain((0..9).map(|_| (pool.clone(), 1))).unwrap();
    assert_eq!(network.layers().last().unwrap().stride, Some(usize::MAX));
    let error = chain((0..70).map(|_| (Op::Concat, 2))).unwrap_err().to_string();
    assert!(error.contains("at most 16777216 are allowed"), "{error}");
}

#[test]
fn weights_must_be_finite() {
    let bias = Array::new(vec![3], vec![0.0, f32::NAN, 1.0]).unwrap();
    let error = chain([(Op::BiasAdd { bias }, 1)]).unwrap_err().to_string();
    assert!(error.contains("holds the value NaN"), "{error}");
}
