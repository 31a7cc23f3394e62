//! The looks of the models that are known: what they dream at some of their layers, named by what is seen there.
//!
//! Chosen by looking at the dreams of every block on several photos. A look belongs to weights, not to a file: networks
//! of the same layers that were trained on the same photos (the two known GoogLeNets) show the same kinds of forms at the same layers.

use reverie_dream::look::Look;
use reverie_graph::Network;
use serde_json::{Map, Value, json};

/// A row of the tables: id, title, what is seen, members of a spec.
type Row = (&'static str, &'static str, &'static str, Value);

/// Channels of the last block of EfficientNet-Lite2; Lite1 has as many blocks, and 320.
const LITE2_CHANNELS: usize = 352;

/// The looks of a network, the usual one first; none of one that is not known.
pub(super) fn of(network: &Network) -> Vec<Look> {
    let has = |layers: &[&str]| layers.iter().all(|layer| network.find(layer).is_ok());
    let channels = |layer: &str| network.find(layer).map_or(0, |id| network.channels(id));
    let (family, rows) = if has(&["conv2d2", "mixed3a", "mixed4c", "mixed5b"]) {
        ("googlenet", googlenet())
    } else if channels("block20") == LITE2_CHANNELS && has(&["logits"]) {
        ("lite2", lite2())
    } else if has(&["block0", "block15", "logits"]) && !has(&["block16"]) {
        ("lite0", lite0())
    } else {
        return Vec::new();
    };
    let look = |(id, title, description, spec): Row| {
        let spec = if let Value::Object(spec) = spec { spec } else { Map::new() };
        Look { id, title, description, spec, picture: format!("{family}-{id}") }
    };
    rows.into_iter().map(look).collect()
}

/// The L2 norm of a layer.
fn layer(name: &str) -> Value {
    json!({ "objectives": [{ "kind": "l2", "layer": name }] })
}

/// The same, with the gradient divided by its mean magnitude: fainter, in the photo's own colours.
fn faint(name: &str) -> Value {
    json!({ "objectives": [{ "kind": "l2", "layer": name }], "normalization": "mean-abs" })
}

fn googlenet() -> Vec<Row> {
    let fine = json!({ "objectives": [{ "kind": "l2", "layer": "mixed4d" }], "octave_scale": 1.3 });
    vec![
        ("city", "City", "Domes, pavilions and people.", layer("mixed4c")),
        ("eyes", "Eyes", "Creatures that are mostly eyes.", layer("mixed4b")),
        ("seals", "Seals", "Round faces with fur, one beside the other.", layer("mixed4a")),
        ("beasts", "Beasts", "Fish, lizards, birds and dogs.", fine),
        ("bells", "Bells", "Tents, umbrellas and bells of glass.", layer("mixed4e")),
        ("fish", "Fish", "Whole fish and armoured animals.", layer("mixed5a")),
        ("fireworks", "Fireworks", "Tufts, anemones and sparks.", layer("mixed3b")),
        ("fur", "Fur", "The photo's own colours, combed into fur.", faint("mixed3b")),
        ("etching", "Etching", "Towers and spires, engraved into the photo.", faint("mixed4c")),
        ("script", "Script", "Loops and letters drawn with a brush.", layer("mixed3a")),
        ("tiles", "Tiles", "Coloured tiles and ribbons.", layer("conv2d2")),
    ]
}

fn lite0() -> Vec<Row> {
    vec![
        ("animals", "Animals", "Dogs and other animals.", layer("block10")),
        ("eyes", "Eyes", "Faces that look out of fur.", layer("block9")),
        ("creatures", "Creatures", "Round creatures with fur and shells.", layer("block11")),
        ("corals", "Corals", "Corals, tufts and domes.", layer("block12")),
        ("clouds", "Clouds", "Folds like clouds and mountains.", layer("block14")),
        ("scales", "Scales", "Snakes and worms with scales and eyes.", layer("block8")),
        ("woven", "Woven", "Braids and basketwork.", layer("block6")),
        ("stones", "Stones", "Cut stones and pleats.", layer("block4")),
        ("glass", "Stained glass", "Panes in lead.", layer("block3")),
        ("lattice", "Lattice", "A fine lattice over everything.", layer("block2")),
        ("ink", "Ink", "Strokes of a broad pen.", layer("block1")),
    ]
}

fn lite2() -> Vec<Row> {
    vec![
        ("animals", "Animals", "Groups of whole animals.", layer("block13")),
        ("portraits", "Portraits", "Single large heads.", layer("block14")),
        ("pack", "Pack", "Many faces, close together.", layer("block12")),
        ("creatures", "Creatures", "Worms and creatures with many eyes.", layer("block11")),
        ("feathers", "Feathers", "Feathers, scales and shells.", layer("block15")),
        ("braids", "Braids", "Rosettes and braids.", layer("block16")),
        ("fleece", "Fleece", "Curls of wool.", layer("block17")),
        ("swirls", "Swirls", "Spirals and ripples.", layer("block10")),
        ("maze", "Maze", "Terraces and mazes.", layer("block9")),
        ("pleats", "Pleats", "Cut stones and pleats.", layer("block5")),
        ("glass", "Stained glass", "Panes in lead.", layer("block3")),
        ("ink", "Ink", "Strokes of a broad pen.", layer("block1")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use reverie_dream::{
        model::{Catalogue, Model},
        spec::{InputKind, resolve},
    };
    use reverie_graph::{Array, Node, NodeId, Op, Padding};

    /// A network that has layers of these names with so many channels.
    fn network(names: &[&str], channels: usize) -> Network {
        let weight = Array::new(vec![channels, 3, 1, 1], vec![0.0; channels * 3]).unwrap();
        let conv = Op::Conv2d {
            weight,
            bias: None,
            stride: [1, 1],
            dilation: [1, 1],
            padding: Padding::Valid,
            groups: 1,
        };
        let mut nodes = vec![
            Node { name: "input".into(), op: Op::Input { channels: 3 }, inputs: Vec::new() },
            Node { name: "stem".into(), op: conv, inputs: vec![NodeId(0)] },
        ];
        for name in names {
            let inputs = vec![NodeId(nodes.len() - 1)];
            nodes.push(Node { name: (*name).to_owned(), op: Op::Relu, inputs });
        }
        Network::new(nodes).unwrap()
    }

    #[test]
    fn every_look_of_every_family_is_a_spec_with_a_picture() {
        let blocks: Vec<String> = (0..21).map(|block| format!("block{block}")).collect();
        let efficientnet = |count: usize, channels| {
            let names: Vec<_> = blocks[..count].iter().map(String::as_str).chain(["logits"]).collect();
            network(&names, channels)
        };
        let mixed = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"].map(|end| format!("mixed{end}"));
        let googlenet: Vec<&str> =
            std::iter::once("conv2d2").chain(mixed.iter().map(String::as_str)).collect();
        let pictures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../studio/looks");
        let mut shown = Vec::new();
        for (network, count) in
            [(network(&googlenet, 8), 11), (efficientnet(16, 320), 11), (efficientnet(21, 352), 12)]
        {
            let looks = of(&network);
            assert_eq!(looks.len(), count);
            let default = looks[0].spec["objectives"][0]["layer"].as_str().unwrap().to_owned();
            let mut catalogue = Catalogue::default();
            catalogue.insert(Model {
                looks: looks.clone(),
                ..Model::of_network("known", network, &default, None)
            });
            for look in looks {
                let spec = resolve("", json!({ "look": look.id }), &catalogue, InputKind::Image);
                let spec = spec.unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}", look.id));
                // Photos of any size: a look is not bound to the article's sizes.
                assert_eq!(spec.max_edge, Some(1280), "{}", look.id);
                assert!(look.description.ends_with('.') && !look.title.is_empty());
                shown.push(format!("{}.webp", look.picture));
            }
        }
        // No picture without a look, no look without a picture.
        let files = std::fs::read_dir(pictures).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort_unstable();
        shown.sort_unstable();
        assert_eq!(files, shown);
        for other in [efficientnet(21, 320), network(&["mixed4c"], 8)] {
            assert_eq!(of(&other), []);
        }
    }
}
