//! `reverie render --profile`: where a render spent its time, as a table and as JSON.

use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};

use reverie_engine::{NodeProfile, Profile};
use reverie_graph::visible;

/// Number of slowest nodes in the table.
const ROWS: usize = 24;

/// A profile as a table, slowest nodes first.
pub(super) struct Table<'a>(pub(super) &'a Profile);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(profile) = self;
        let mut nodes: Vec<&NodeProfile> = profile.nodes.iter().collect();
        nodes.sort_unstable_by(|a, b| total(b).total_cmp(&total(a)));
        writeln!(
            f,
            "{:<36} {:<10} {:>9} {:>9} {:>7} {:>8}",
            "node", "kind", "forward", "back", "share", "GFLOP/s"
        )?;
        let mut line = |name: &str, kind: &str, forward: f64, back: f64, sums: f64| {
            let share = 100.0 * (forward + back) / profile.seconds;
            write!(
                f,
                "{name:<36} {kind:<10} {:>6.0} ms {:>6.0} ms {share:>5.1} %",
                forward * 1e3,
                back * 1e3
            )?;
            if sums > 0.0 { writeln!(f, " {:>8.0}", 2e-9 * sums / (forward + back)) } else { writeln!(f) }
        };
        for node in nodes.iter().take(ROWS) {
            line(&visible(&node.name), node.kind, node.forward, node.backward, node.multiply_adds)?;
        }
        let (rest, all) = (nodes.get(ROWS..).unwrap_or_default(), &nodes[..]);
        let sum = |nodes: &[&NodeProfile], part: fn(&NodeProfile) -> f64| {
            nodes.iter().copied().map(part).sum::<f64>()
        };
        let mut group = |name: &str, kind: &str, nodes: &[&NodeProfile]| {
            let [forward, back] = [sum(nodes, |node| node.forward), sum(nodes, |node| node.backward)];
            line(name, kind, forward, back, sum(nodes, |node| node.multiply_adds))
        };
        group("other nodes", "", rest)?;
        let kinds: BTreeSet<&str> = nodes.iter().map(|node| node.kind).collect();
        for kind in kinds {
            let alike: Vec<&NodeProfile> = nodes.iter().copied().filter(|node| node.kind == kind).collect();
            group("all of a kind", kind, &alike)?;
        }
        group("all nodes", "", all)?;
        let around = profile.seconds - sum(all, total);
        line("around them", "", around, 0.0, 0.0)?;
        writeln!(
            f,
            "{:.2} s at {:.0} GFLOP/s of plain sums: {:.0} % of the {:.0} that a product of matrices reaches",
            profile.seconds,
            2e-9 * profile.multiply_adds() / profile.seconds,
            100.0 * profile.share(),
            2e-9 * profile.matrix_rate
        )
    }
}

fn total(node: &NodeProfile) -> f64 {
    node.forward + node.backward
}

/// A profile as JSON; rates are in floating-point operations per second, two for each multiply-add.
pub(super) fn to_json(profile: &Profile) -> Value {
    let nodes = profile.nodes.iter().map(|node| {
        json!({
            "name": node.name, "kind": node.kind, "forward_seconds": node.forward, "backward_seconds": node.backward,
            "flop": 2.0 * node.multiply_adds,
        })
    });
    json!({
        "seconds": profile.seconds, "flop": 2.0 * profile.multiply_adds(), "share_of_matrix_rate": profile.share(),
        "matrix_flops": 2.0 * profile.matrix_rate, "nodes": nodes.collect::<Vec<_>>(),
    })
}
