//! Which layers of a network are worth a first look: a dozen at most, from the image to the end, so that a page or a person can
//! go through them without knowing the network.

use std::collections::HashSet;

use super::aliases::BLOCKS;
use reverie_dream::look::Look;
use reverie_graph::{LayerInfo, Network, Node, Op};
use reverie_import::state_dict::Family;

/// Layers that are featured at most.
const MOST: usize = 12;

/// Fewer than this are no choice.
const FEWEST: usize = 6;

/// The featured layers of a network, in its order; `default` is always one of them.
pub(super) fn of(network: &Network, family: Option<Family>, looks: &[Look], default: &str) -> Vec<String> {
    let layers = network.layers();
    // After these there is no map that a picture could come of.
    let maps: Vec<&LayerInfo> =
        layers.iter().filter(|layer| layer.stride.is_some() && layer.kind != Op::Softmax.kind()).collect();
    let known = known(network, family, looks);
    let chosen = if known.is_empty() { joints(&maps) } else { known };
    let chosen: HashSet<&str> = chosen.iter().map(String::as_str).collect();
    let in_order: Vec<&str> = maps
        .iter()
        .map(|layer| &*layer.name)
        .filter(|name| chosen.contains(name) || *name == default)
        .collect();
    spread(&in_order, default)
}

/// Names that those who looked at a network's dreams would give; empty for a network that is not known.
fn known(network: &Network, family: Option<Family>, looks: &[Look]) -> Vec<String> {
    let of_look = |look: &Look| Some(look.spec.get("objectives")?.get(0)?.get("layer")?.as_str()?.to_owned());
    // By aliases, too.
    let own = |name: String| network.find(&name).ok().map(|id| network.node(id).name.clone());
    let matching = |fits: &dyn Fn(&Node) -> bool| -> Vec<String> {
        network.nodes().iter().filter(|node| fits(node)).map(|node| node.name.clone()).collect()
    };
    // Modules that are called by a number, such as "features.7".
    let is_number = |rest: &str| rest.parse::<u32>().is_ok();
    let numbered = |start: &str, node: &Node| node.name.strip_prefix(start).is_some_and(is_number);
    match family {
        _ if !looks.is_empty() => looks.iter().filter_map(of_look).collect(),
        Some(Family::EfficientNetLite) => matching(&|node| numbered("block", node)),
        Some(Family::InceptionV3) => {
            matching(&|node| node.name.starts_with("Mixed_") && !node.name.contains(['.', '/']))
        }
        Some(Family::MobileNetV2) => matching(&|node| numbered("features.", node)),
        Some(Family::SqueezeNet) => matching(&|node| numbered("features.", node) && node.op == Op::Concat),
        Some(Family::ResNet) => {
            let stages = ["layer1.", "layer2.", "layer3.", "layer4."];
            matching(&|node| stages.iter().any(|stage| numbered(stage, node)))
        }
        Some(Family::Vgg) => matching(&|node| numbered("features.", node) && node.op == Op::Relu),
        Some(Family::GoogLeNet) | None => {
            let blocks = BLOCKS.iter().map(|block| format!("mixed{block}"));
            let found: Vec<String> = blocks.filter_map(own).collect();
            // Another network may have a block of that name.
            if found.len() < BLOCKS.len() {
                return Vec::new();
            }
            own("conv2d2".to_owned()).into_iter().chain(found).collect()
        }
    }
}

/// Where branches meet or values are cut off: what a block puts out. The first kind of which there are enough.
fn joints(maps: &[&LayerInfo]) -> Vec<String> {
    let of = |kinds: &[&str]| -> Vec<String> {
        maps.iter().filter(|layer| kinds.contains(&layer.kind)).map(|layer| layer.name.clone()).collect()
    };
    let kinds: [&[&str]; 4] = [
        &[Op::Concat.kind()],
        &[Op::Add.kind()],
        &["relu", "relu6", "leaky_relu", "swish", "hard_swish", "clip"],
        &["concat", "add", "relu", "relu6", "leaky_relu", "swish", "hard_swish", "clip", "conv2d"],
    ];
    let found = kinds.into_iter().map(of).find(|found| found.len() >= FEWEST);
    found.unwrap_or_else(|| maps.iter().map(|layer| layer.name.clone()).collect())
}

/// [`MOST`] of them, as evenly as it goes, with the first, the last and the default.
fn spread(names: &[&str], default: &str) -> Vec<String> {
    let last = names.len().saturating_sub(1);
    let mut chosen: Vec<usize> = match names.len() {
        count if count <= MOST => (0..count).collect(),
        _ => (0..MOST).map(|index| (index * last + (MOST - 1) / 2) / (MOST - 1)).collect(),
    };
    if let Some(default) = names.iter().position(|name| *name == default)
        && !chosen.contains(&default)
        && let Some(nearest) =
            (1..chosen.len().saturating_sub(1)).min_by_key(|&at| chosen[at].abs_diff(default))
    {
        chosen[nearest] = default;
    }
    chosen.into_iter().filter_map(|index| names.get(index)).map(|&name| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dozen_are_spread_over_the_network_with_the_default() {
        let names: Vec<String> = (0..50).map(|index| format!("block{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for default in ["block0", "block20", "block23", "block49"] {
            let chosen = spread(&names, default);
            assert_eq!(chosen.len(), MOST);
            assert_eq!((&*chosen[0], &*chosen[MOST - 1]), ("block0", "block49"));
            assert!(chosen.iter().any(|name| name == default), "{default} is not in {chosen:?}");
            let order: Vec<usize> = chosen.iter().map(|name| name[5..].parse().unwrap()).collect();
            assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
        }
        assert_eq!(spread(&names[..3], "block1"), ["block0", "block1", "block2"]);
        assert_eq!(spread(&[], "none"), [""; 0]);
    }
}
