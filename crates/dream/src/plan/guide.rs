//! A guide image in a plan: the size at which its features are taken, how many of them are kept, and what it costs to
//! follow them.
//!
//! At every step each position of the layer is compared with each kept position of the guide. The bounds here keep that to
//! a part of what the network itself costs, for guides of any size and layers of any stride.

use super::{
    octaves::within,
    work::{FORWARD, Work},
};
use crate::spec::DreamSpec;
use reverie_graph::{Network, NodeId, Shape, ShapeError, UnknownLayer};

/// Longer edge in pixels at which the features of a guide are taken; a larger guide is shrunk to it. Its forms are then as
/// large as a network is trained to see them.
pub const GUIDE_EDGE: i64 = 384;

/// Positions of a guide that are kept, at the most. A layer of stride 16 has 576 at [`GUIDE_EDGE`]; of layers with more,
/// positions are taken in even steps.
pub const MAX_COLUMNS: i64 = 1024;

/// Dot products that are held at once, at the most.
pub const DOTS: i64 = 1 << 22;

/// Height and width at which the features of a guide of that size are taken.
pub fn guide_size(size: (i64, i64)) -> (i64, i64) {
    within(size, GUIDE_EDGE)
}

/// Rows and columns of positions that are kept of so many: all, or [`MAX_COLUMNS`] positions in the same proportion.
pub fn columns_kept(rows: i64, columns: i64) -> (i64, i64) {
    if rows.saturating_mul(columns) <= MAX_COLUMNS {
        return (rows, columns);
    }
    let share = (MAX_COLUMNS as f64 / (rows as f64 * columns as f64)).sqrt();
    let rows = ((rows as f64 * share) as i64).clamp(1, MAX_COLUMNS);
    (rows, ((columns as f64 * share) as i64).clamp(1, MAX_COLUMNS / rows))
}

/// A layer that follows the guide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    pub(super) layer: NodeId,
    /// Positions of the guide that are kept, at the most.
    columns: f64,
}

/// The layers of `spec` that follow a guide, once for each such objective.
pub(super) fn followed(spec: &DreamSpec, network: &Network) -> Result<Vec<Followed>, UnknownLayer> {
    let following = spec.objectives.iter().filter(|objective| objective.kind.follows_guide());
    let layers = following.map(|objective| network.find(&objective.layer));
    layers.map(|layer| layer.map(|layer| Followed { layer, columns: columns_of(network, layer) })).collect()
}

/// Positions that a layer keeps of a square guide, which has the most.
fn columns_of(network: &Network, layer: NodeId) -> f64 {
    let edge = GUIDE_EDGE as usize;
    match network.shapes(&[layer], edge, edge).ok().and_then(|shapes| shapes[layer.0]) {
        Some(shape) => positions(shape).min(MAX_COLUMNS as f64),
        None => MAX_COLUMNS as f64,
    }
}

pub(super) fn positions(shape: Shape) -> f64 {
    match shape {
        Shape::Map { height, width, .. } => height as f64 * width as f64,
        Shape::Rows { rows, .. } => rows as f64,
    }
}

/// What following the guide adds to one window. Its backward pass is no product: it copies the chosen positions.
pub(super) fn work(
    followed: &[Followed],
    network: &Network,
    height: usize,
    width: usize,
) -> Result<Work, ShapeError> {
    let mut work = Work::default();
    for &Followed { layer, columns } in followed {
        let Some(shape) = network.shapes(&[layer], height, width)?[layer.0] else { continue };
        let dots = positions(shape) * columns;
        let channels = network.channels(layer) as f64;
        work.dense += dots * channels * FORWARD;
        work.values += dots * FORWARD + positions(shape) * channels;
        work.operations += 1.0 + (dots / DOTS as f64).floor();
    }
    Ok(work)
}

/// Bytes for the kept features, in two orders, and for the dot products that are held at once.
pub(super) fn memory(followed: &[Followed], network: &Network) -> u64 {
    let features =
        followed.iter().map(|one| one.columns * network.channels(one.layer) as f64 * 8.0).sum::<f64>();
    let dots = if followed.is_empty() { 0.0 } else { DOTS as f64 * 4.0 };
    (features + dots) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guides_are_shrunk_and_thinned_in_their_proportions() {
        assert_eq!(guide_size((200, 384)), (200, 384));
        assert_eq!(guide_size((3000, 4000)), (288, 384));
        assert_eq!(guide_size((9000, 1)), (384, 1));
        assert_eq!(columns_kept(24, 24), (24, 24));
        assert_eq!(columns_kept(192, 192), (32, 32));
        let (rows, columns) = columns_kept(144, 192);
        assert!(rows * columns <= MAX_COLUMNS && rows * columns > MAX_COLUMNS * 9 / 10, "{rows}×{columns}");
        for (rows, columns) in [(1, 100_000), (100_000, 1), (i64::MAX, i64::MAX), (1, 1)] {
            let (kept_rows, kept_columns) = columns_kept(rows, columns);
            assert!((1..=rows).contains(&kept_rows) && (1..=columns).contains(&kept_columns));
            assert!(kept_rows * kept_columns <= MAX_COLUMNS);
        }
    }
}
