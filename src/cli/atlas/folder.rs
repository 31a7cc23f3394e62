//! The folder of an atlas. Every file in it appears complete or not at all, so that a run can be stopped, or killed, at any time.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    super::{Failure, render},
    index::{Index, TileEntry},
    page,
    sheet::{self, Sheet},
};
use crate::tile::Tile;
use reverie_dream::model::Model;
use reverie_graph::visible;

/// Name of the index in the folder.
const INDEX: &str = "index.json";

/// Name of the page in the folder.
pub(super) const PAGE: &str = "index.html";

/// Folder of the sheets.
const SHEETS: &str = "sheets";

/// Folder of rendered tiles whose sheet is not complete.
const PARTS: &str = "parts";

/// An open atlas.
pub(super) struct Folder {
    root: PathBuf,
    model: Arc<Model>,
    index: Index,
    /// Layers and channels of the tiles on sheets.
    there: HashSet<(String, Option<u32>)>,
}

impl Folder {
    /// Opens an atlas of the model, or what may become one; nothing is written yet.
    ///
    /// # Errors
    /// An atlas of another model or recipe; another program's `index.json`; files that are no atlas's and have the names of one's;
    /// a system error.
    pub(super) fn open(root: &Path, model: &Arc<Model>) -> Result<Self, Failure> {
        let path = root.join(INDEX);
        let mut index = match fs::read(&path) {
            Ok(text) => {
                let refused = |reason: String| {
                    format!("{}: {}; choose another folder", path.display(), visible(&reason))
                };
                let index: Index = serde_json::from_slice(&text)
                    .map_err(|error| refused(format!("this is not the index of an atlas: {error}")))?;
                if let Some(reason) = index.refusal(model) {
                    return Err(refused(reason).into());
                }
                index
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::refuse_what_is_there(root)?;
                Index::of(model)
            }
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        };
        index.retain(|sheet| root.join(sheet).is_file());
        let there = index.tiles().map(|(layer, tile)| (layer.to_owned(), tile.channel)).collect();
        Ok(Self { root: root.to_owned(), model: Arc::clone(model), index, there })
    }

    /// Refuses a folder without an index where something has a name that an atlas writes: it is not ours to replace.
    fn refuse_what_is_there(root: &Path) -> Result<(), Failure> {
        for name in [INDEX, PAGE, SHEETS, PARTS] {
            let path = root.join(name);
            // A link that leads nowhere is there, too.
            if path.symlink_metadata().is_ok() {
                let path = path.display();
                return Err(format!(
                    "{path} is there already, and no {INDEX} says that it is an atlas's; choose another folder"
                )
                .into());
            }
        }
        Ok(())
    }

    /// Makes the folder this model's. The index comes first: without it, a run after one that was killed here would be refused.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.root).map_err(|error| format!("{}: {error}", self.root.display()))?;
        self.write_index()?;
        for folder in [SHEETS, PARTS] {
            let folder = self.root.join(folder);
            fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(())
    }

    /// Whether a tile is on a sheet.
    pub(super) fn has(&self, tile: &Tile) -> bool {
        self.there.contains(&(tile.layer.clone(), tile.channel))
    }

    /// Number of tiles on sheets.
    pub(super) fn tiles(&self) -> usize {
        self.there.len()
    }

    /// Whether a tile is rendered, and waits for its sheet.
    pub(super) fn keeps(&self, tile: &Tile) -> bool {
        self.part(tile).is_file() || self.has(tile)
    }

    /// Keeps a rendered tile for its sheet.
    pub(super) fn keep(&self, tile: &Tile, picture: &[u8]) -> Result<(), Failure> {
        write(&self.part(tile), picture)
    }

    /// Writes a sheet of those of its tiles that are rendered; its path in the folder and the number of tiles, or nothing if
    /// there are none.
    pub(super) fn finish(&mut self, sheet: &Sheet<'_>) -> Result<Option<(String, usize)>, Failure> {
        let mut tiles = Vec::new();
        for wanted in &sheet.tiles {
            let part = self.part(&wanted.tile);
            match fs::read(&part) {
                Ok(picture) => tiles.push((&wanted.tile, part, picture)),
                // It could not be rendered.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", part.display()).into()),
            }
        }
        if tiles.is_empty() {
            return Ok(None);
        }
        let pictures: Vec<&[u8]> = tiles.iter().map(|(.., picture)| picture.as_slice()).collect();
        let name = self.free_name(&sheet.stem);
        write(&self.root.join(&name), &sheet::assemble(&pictures)?)?;
        for (place, (tile, ..)) in tiles.iter().enumerate() {
            let (x, y) = sheet::position(place);
            let entry = TileEntry { channel: tile.channel, sheet: name.clone(), x, y };
            self.index.add(tile, entry, &self.model);
            self.there.insert((tile.layer.clone(), tile.channel));
        }
        self.write_index()?;
        for (_, part, _) in &tiles {
            fs::remove_file(part).map_err(|error| format!("{}: {error}", part.display()))?;
        }
        Ok(Some((name, tiles.len())))
    }

    /// A path for a sheet that no other has.
    fn free_name(&self, stem: &str) -> String {
        let names = (1_u32..).map(|number| format!("{SHEETS}/{stem}-{number}.webp"));
        let mut free = names.filter(|name| !self.root.join(name).exists());
        free.next().unwrap_or_default()
    }

    /// Where a tile waits for its sheet. Its id tells the model and the recipe, too.
    fn part(&self, tile: &Tile) -> PathBuf {
        self.root.join(PARTS).join(format!("{}.png", tile.id()))
    }

    /// Writes the index and the page.
    fn write_index(&self) -> Result<(), Failure> {
        write(&self.root.join(INDEX), &serde_json::to_vec_pretty(&self.index)?)?;
        write(&self.root.join(PAGE), page::of(&self.index)?.as_bytes())
    }
}

/// Writes a file, which is complete when it appears.
fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let written = render::temporary(path, fs::metadata(path).ok().as_ref()).and_then(|mut file| {
        file.write_all(content)?;
        file.persist(path).map(drop).map_err(|error| error.error)
    });
    Ok(written.map_err(|error| format!("{}: {error}", path.display()))?)
}
