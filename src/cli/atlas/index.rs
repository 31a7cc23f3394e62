//! `index.json`: which model an atlas is of, and where each tile is.

use serde::{Deserialize, Serialize};

use crate::tile::{EDGE, RECIPE, Tile};
use reverie_dream::model::Model;

/// Version of the format of the index.
const FORMAT: u32 = 1;

/// An atlas.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// Version of this format.
    atlas: u32,
    /// Version of the recipe that tiles are rendered by.
    recipe: u32,
    /// Width and height of a tile in pixels.
    tile: u32,
    model: ModelEntry,
    /// In the order of the network.
    pub(super) layers: Vec<LayerEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ModelEntry {
    id: String,
    sha256: String,
    description: String,
    licence: Option<String>,
}

/// A layer that has tiles.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LayerEntry {
    pub(super) name: String,
    kind: String,
    channels: usize,
    receptive_field: Option<usize>,
    pub(super) tiles: Vec<TileEntry>,
}

/// Where a tile is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TileEntry {
    /// The channel; none for the whole layer.
    pub(super) channel: Option<u32>,
    /// Path of the sheet in the folder of the atlas.
    pub(super) sheet: String,
    /// Left edge of the tile on the sheet, in pixels.
    pub(super) x: u32,
    /// Upper edge.
    pub(super) y: u32,
}

impl Index {
    /// An empty atlas of a model.
    pub(super) fn of(model: &Model) -> Self {
        let model = ModelEntry {
            id: model.id.clone(),
            sha256: model.sha256.clone(),
            description: model.description.clone(),
            licence: model.licence.clone(),
        };
        Self { atlas: FORMAT, recipe: RECIPE, tile: EDGE, model, layers: Vec::new() }
    }

    /// Why tiles of `model` cannot be added; none if they can.
    pub(super) fn refusal(&self, model: &Model) -> Option<String> {
        let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
        if (self.atlas, self.recipe, self.tile) != (FORMAT, RECIPE, EDGE) {
            return Some("its tiles are those of another version of this program".into());
        }
        let there = &self.model;
        (there.sha256 != model.sha256).then(|| {
            format!(
                "it is of model {} (sha256 {}…), and this is model {} (sha256 {}…)",
                there.id,
                short(&there.sha256),
                model.id,
                short(&model.sha256)
            )
        })
    }

    /// Notes where a tile is.
    pub(super) fn add(&mut self, tile: &Tile, entry: TileEntry, model: &Model) {
        let layers = model.network.layers();
        let place = |name: &str| layers.iter().position(|layer| layer.name == name);
        if !self.layers.iter().any(|layer| layer.name == tile.layer)
            && let Some(info) = layers.iter().find(|layer| layer.name == tile.layer)
        {
            self.layers.push(LayerEntry {
                name: info.name.clone(),
                kind: info.kind.to_owned(),
                channels: info.channels,
                receptive_field: info.receptive_field,
                tiles: Vec::new(),
            });
            self.layers.sort_by_key(|layer| place(&layer.name));
        }
        if let Some(layer) = self.layers.iter_mut().find(|layer| layer.name == tile.layer) {
            layer.tiles.push(entry);
            layer.tiles.sort_by_key(|tile| tile.channel);
        }
    }

    /// Leaves out tiles of which `is_there` says that their sheet is not.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        for layer in &mut self.layers {
            layer.tiles.retain(|tile| is_there(&tile.sheet));
        }
        self.layers.retain(|layer| !layer.tiles.is_empty());
    }

    /// All tiles, each with the name of its layer.
    pub(super) fn tiles(&self) -> impl Iterator<Item = (&str, &TileEntry)> {
        self.layers.iter().flat_map(|layer| layer.tiles.iter().map(|tile| (layer.name.as_str(), tile)))
    }
}
