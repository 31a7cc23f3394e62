//! For the tests of the command line: the built program, and a folder with a photo.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test uses a part of this, and tests may fail loudly"
)]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

pub const QUICK: [&str; 6] = ["--layer", "block3", "--iterations", "2", "--octaves", "2"];

#[path = "models.rs"]
pub mod models;

/// Runs the program in the folder of the sources.
pub fn reverie(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reverie"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("REVERIE__MODELS__DIR", models::models_dir())
        .args(arguments);
    command.output().unwrap()
}

/// A folder with a small photograph-like picture in it.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        let image = image::RgbImage::from_fn(90, 70, |x, y| {
            image::Rgb([(x * 2) as u8, (y * 3) as u8, ((x * y) % 251) as u8])
        });
        image.save(scratch.path("photo.png")).unwrap();
        scratch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Renders the photo with further arguments.
    pub fn render(&self, output: &str, more: &[&str]) -> Output {
        let (photo, output) = (self.text("photo.png"), self.text(output));
        reverie(&[&["render", &photo, "-o", &output], more].concat())
    }

    /// Renders and expects a refusal that says all of `expected` and writes nothing.
    pub fn refuses(&self, more: &[&str], expected: &[&str]) {
        let before = self.files();
        let output = self.render("refused.png", more);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{more:?} was accepted");
        for text in expected {
            assert!(errors.contains(text), "{more:?}: no {text:?} in {errors}");
        }
        assert!(!errors.contains("panicked"), "{errors}");
        assert_eq!(self.files(), before, "{more:?} left something");
    }

    /// Names of all files, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}
