//! Which tiles an atlas is to have.

use super::super::Failure;
use crate::tile::{EDGE, Tile};
use reverie_dream::{
    model::{Catalogue, Model},
    plan::Plan,
    spec::DreamSpec,
};
use reverie_graph::{NodeId, visible};

/// Which layers are asked for.
pub(super) enum Layers<'a> {
    /// Those worth a first look.
    Featured,
    /// Every layer that can be dreamed of.
    All,
    /// These, by name or alias.
    Named(&'a [String]),
}

/// One tile to render.
pub(super) struct Wanted {
    pub(super) tile: Tile,
    pub(super) spec: DreamSpec,
    /// The layer's place in the network.
    pub(super) node: usize,
    /// What it is expected to take on the machine that work is measured by.
    pub(super) seconds: f64,
}

impl Wanted {
    /// What it shows, for people at a terminal.
    pub(super) fn name(&self) -> String {
        let layer = visible(&self.tile.layer);
        match self.tile.channel {
            Some(channel) => format!("{layer} channel {channel}"),
            None => layer,
        }
    }
}

/// The tiles of these layers of a model in the catalogue, in the order of the network: of each the layer as a whole, and its
/// first `channels`. Where layers are named, and no number is, all of their channels.
///
/// # Errors
/// A name that is no layer, or one of a layer that cannot be dreamed of. Other layers that cannot are left out with a note.
pub(super) fn of(
    model: &Model,
    catalogue: &Catalogue,
    layers: Layers<'_>,
    channels: Option<u32>,
) -> Result<Vec<Wanted>, Failure> {
    let named = matches!(layers, Layers::Named(_));
    let names: Vec<String> = match layers {
        Layers::Featured => model.featured.clone(),
        Layers::All => model.network.layers().into_iter().map(|layer| layer.name).collect(),
        Layers::Named(names) => names.to_vec(),
    };
    let nodes = names.iter().map(|name| model.network.find(name));
    let mut nodes = nodes.collect::<Result<Vec<NodeId>, _>>()?;
    nodes.sort_unstable();
    nodes.dedup();
    let channels = channels.unwrap_or(if named { u32::MAX } else { 0 });
    let (mut wanted, mut left_out) = (Vec::new(), Vec::new());
    for node in nodes {
        match of_layer(model, catalogue, node, channels) {
            Ok(tiles) => wanted.extend(tiles),
            Err(reason) if named => return Err(reason.into()),
            Err(reason) => left_out.push(reason),
        }
    }
    if let Some(reason) = left_out.first().map(|reason| visible(reason)) {
        eprintln!("note: layers left out: {}; the first, because {reason}", left_out.len());
    }
    Ok(wanted)
}

/// The tiles of one layer, or why there are none.
fn of_layer(
    model: &Model,
    catalogue: &Catalogue,
    node: NodeId,
    channels: u32,
) -> Result<Vec<Wanted>, String> {
    let layer = &model.network.node(node).name;
    let tile = |channel| Tile { model: model.sha256.clone(), layer: layer.clone(), channel };
    let spec = |tile: &Tile| {
        let spec = tile.spec(model, catalogue);
        spec.map_err(|errors| errors.into_iter().map(|error| error.detail).collect::<Vec<_>>().join("; "))
    };
    let whole = spec(&tile(None))?;
    // A channel takes as long as its layer.
    let plan = Plan::of(&whole, &model.network, (EDGE, EDGE), u64::MAX).map_err(|error| error.to_string())?;
    let last = u32::try_from(model.network.channels(node)).unwrap_or(u32::MAX).min(channels);
    let all = std::iter::once(None).chain((0..last).map(Some));
    all.map(|channel| {
        let tile = tile(channel);
        Ok(Wanted { spec: spec(&tile)?, tile, node: node.0, seconds: plan.work.seconds() })
    })
    .collect()
}
