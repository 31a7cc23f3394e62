//! The table of a certificate: a row for each layer, in the network's order, and the largest errors.

use std::io::Write;

use super::Failure;
use reverie_engine::verify::{Check, Quantity};
use reverie_graph::{Network, visible};

/// The checks of one layer.
#[derive(Default)]
struct Row<'a> {
    activation: Option<&'a Check>,
    gradient: Option<&'a Check>,
}

/// Prints the table; returns how many layers are out of tolerance.
pub(super) fn print(out: &mut impl Write, network: &Network, checks: &[Check]) -> Result<usize, Failure> {
    let mut rows: Vec<Row<'_>> = network.nodes().iter().map(|_| Row::default()).collect();
    for check in checks {
        let layer = match check.quantity {
            Quantity::Activation => Some(check.name.as_str()),
            Quantity::Gradient => check.name.strip_prefix("grad_l2_"),
            Quantity::Slope => check.name.strip_prefix("slope_l2_"),
            Quantity::Score => None,
        };
        let row = layer.and_then(|layer| network.find(layer).ok()).and_then(|id| rows.get_mut(id.0));
        match (row, check.quantity) {
            (Some(row), Quantity::Activation) => row.activation = Some(check),
            (Some(row), _) => row.gradient = Some(check),
            (None, _) => {
                return Err(format!("the reference names \"{}\", which is no layer", check.name).into());
            }
        }
    }
    writeln!(out, "{:<6} {:<48} {:>10} {:>10} {:>10}", "", "layer", "activation", "gradient", "cosine")?;
    let (mut compared, mut failed) = (0, 0);
    for (node, row) in network.nodes().iter().zip(&rows) {
        let found = [row.activation, row.gradient];
        if found.iter().flatten().next().is_none() {
            continue;
        }
        let passed = found.iter().flatten().all(|check| check.passed());
        let [activation, gradient] =
            found.map(|check| check.map_or_else(|| "-".into(), |check| format!("{:.1e}", check.error)));
        let cosine = row.gradient.and_then(|check| check.cosine);
        let cosine = cosine.map_or_else(|| "-".into(), |cosine| format!("{cosine:.6}"));
        let verdict = if passed { "ok" } else { "FAILED" };
        writeln!(
            out,
            "{verdict:<6} {:<48} {activation:>10} {gradient:>10} {cosine:>10}",
            visible(&node.name)
        )?;
        compared += 1;
        failed += usize::from(!passed);
    }
    writeln!(out, "{compared} layers compared, {failed} out of tolerance")?;
    for (what, of) in [("activations", true), ("gradients", false)] {
        let errors = checks.iter().filter(|check| (check.quantity == Quantity::Activation) == of);
        let count = errors.clone().count();
        if let Some(worst) = errors.max_by(|a, b| a.error.total_cmp(&b.error)) {
            let Check { error, tolerance, name, .. } = worst;
            writeln!(
                out,
                "{count} {what}, largest error {error:.1e} of {tolerance:.0e} ({})",
                visible(name)
            )?;
        }
    }
    Ok(failed)
}
