//! Zeros that a graph adds in a layer of its own, before a convolution.

use reverie_graph::{Node, NodeId, Op, Padding};

/// What a convolution reads, and its padding, given those that its own node names: zeros that were added before `input` are its
/// padding, where they are fewer than its window, of this dilated `extent`, is wide. Then nothing has to be copied. The layer
/// that adds them stays for a dream that names it.
pub(super) fn absorb(
    nodes: &[Node],
    input: NodeId,
    padding: Padding,
    extent: [usize; 2],
) -> (NodeId, Padding) {
    match nodes.get(input.0).map(|node| (&node.op, &node.inputs[..])) {
        Some((&Op::Pad { before, after }, &[behind]))
            if padding == Padding::Valid
                && (0..2).all(|axis| before[axis].max(after[axis]) < extent[axis]) =>
        {
            (behind, Padding::Explicit { before, after, ceil: false })
        }
        _ => (input, padding),
    }
}
