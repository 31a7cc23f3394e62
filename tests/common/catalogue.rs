//! A model that needs no file.

use reverie_dream::model::{Catalogue, Model};
use reverie_graph::{Network, Node, NodeId, Op};

/// One model, `id`, whose network is one operation on the image; its layer is called "layer".
pub fn of_one_layer(id: &str, op: Op) -> Catalogue {
    let nodes = vec![
        Node { name: "image".into(), op: Op::Input { channels: 3 }, inputs: Vec::new() },
        Node { name: "layer".into(), op, inputs: vec![NodeId(0)] },
    ];
    let mut catalogue = Catalogue::default();
    catalogue.insert(Model::of_network(id, Network::new(nodes).unwrap(), "layer", None));
    catalogue
}
