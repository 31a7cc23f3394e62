//! Tiles: what a layer of a network, or one of its channels, dreams from noise, as a small picture to choose by.
//! (Not the tiles that a gradient is computed in; those are the engine's.)
//!
//! A tile is the same for everybody, so a server renders it once and keeps it, and `reverie atlas` makes sheets of them. Its id is
//! made of the model's digest, the layer, the channel and the version of the recipe below: another model under the same name, or
//! another recipe, has other tiles.

use std::fmt;

use serde_json::json;
use uuid::{Builder, Uuid};

use reverie_dream::{
    digest,
    model::{Catalogue, Model},
    plan::Plan,
    spec::{self, DreamSpec, InputKind},
};
use reverie_fields::FieldError;

/// Edge of a tile in pixels.
pub const EDGE: u32 = 128;

/// Changes with [`Tile::spec`], so that tiles of an older recipe are not shown as of this one.
pub const RECIPE: u32 = 1;

/// What a tile shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Digest of the model's file.
    pub model: String,
    /// Name of the layer in the network: no alias.
    pub layer: String,
    /// One channel, or the whole layer.
    pub channel: Option<u32>,
}

/// Names a tile, with the recipe that it is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileId(Uuid);

impl TileId {
    /// A UUID of version 8, which no job has.
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// Reads an id as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Tile {
    /// The id of this tile under the recipe of this version.
    pub fn id(&self) -> TileId {
        let channel = self.channel.map_or_else(|| "all".to_owned(), |channel| channel.to_string());
        // The layer last: it may hold any character.
        let named = format!("{RECIPE} {} {channel} {}", self.model, self.layer);
        let digest = digest::sha256(named.as_bytes());
        let half = digest.get(..32).and_then(|half| u128::from_str_radix(half, 16).ok()).unwrap_or_default();
        TileId(Builder::from_custom_bytes(half.to_be_bytes()).into_uuid())
    }

    /// The recipe: what is dreamed for this tile of `model`, which is in the catalogue.
    ///
    /// Two octaves show what is repeated, and leave room for what is large; longer steps than on photos make up for the flat start.
    /// A channel is driven to large values (`mean`), a layer to values far from zero, as in dreams of photos.
    ///
    /// # Errors
    /// Where the layer or the channel cannot be dreamed of.
    pub fn spec(&self, model: &Model, catalogue: &Catalogue) -> Result<DreamSpec, Vec<FieldError>> {
        let objective = match self.channel {
            Some(channel) => json!({ "kind": "mean", "layer": self.layer, "channels": [channel] }),
            None => json!({ "kind": "l2", "layer": self.layer }),
        };
        let spec = json!({
            "model": model.id, "objectives": [objective], "noise": { "width": EDGE, "height": EDGE },
            "preset": "deepdream-lapnorm", "octaves": 2, "iterations": 16, "step": 2, "format": "webp", "quality": 80,
            "recipe": false,
        });
        let spec = spec::resolve("", spec, catalogue, InputKind::Nothing { image: "" })?;
        match Plan::of(&spec, &model.network, (EDGE, EDGE), u64::MAX) {
            Ok(_) => Ok(spec),
            Err(error) => Err(vec![FieldError::new("", error.to_string())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_has_an_id_of_its_own() {
        let tile = |model: &str, layer: &str, channel| {
            Tile { model: model.into(), layer: layer.into(), channel }.id()
        };
        let ids = [
            tile("a", "block1", None),
            tile("b", "block1", None),
            tile("a", "block2", None),
            tile("a", "block1", Some(1)),
            tile("a", "1 block1", None),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(TileId::parse(&id.to_string()), Some(*id));
            assert_eq!(id.uuid().get_version_num(), 8);
            assert!(!ids[..at].contains(id), "{ids:?}");
        }
        assert_eq!(ids[0], tile("a", "block1", None));
    }
}
