//! `reverie atlas`: sheets, index and page; what is gone on with, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]
#![cfg(unix)]

#[path = "common/scratch.rs"]
mod scratch;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use image::{Rgb, RgbImage};
use scratch::{Scratch, models, reverie};
use serde_json::Value;

/// A model that renders a tile in a moment.
const TINY: &str = "tests/fixtures/tiny_graph.pb";

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the command; it must succeed.
fn atlas(scratch: &Scratch, model: &str, more: &[&str]) -> String {
    let run = reverie(&[&["atlas", model, "-o", &scratch.text("atlas")], more].concat());
    assert!(run.status.success(), "{}", errors(&run));
    errors(&run)
}

fn index(scratch: &Scratch) -> Value {
    serde_json::from_slice(&fs::read(scratch.path("atlas/index.json")).unwrap()).unwrap()
}

/// The tile that the index has for a layer and a channel, cut from its sheet.
fn tile(scratch: &Scratch, layer: &str, channel: Option<u64>) -> RgbImage {
    let index = index(scratch);
    let layer = index["layers"].as_array().unwrap().iter().find(|entry| entry["name"] == layer).unwrap();
    let mut tiles = layer["tiles"].as_array().unwrap().iter();
    let entry = tiles.find(|tile| tile["channel"].as_u64() == channel).unwrap();
    let sheet = scratch.path("atlas").join(entry["sheet"].as_str().unwrap());
    let [x, y] = ["x", "y"].map(|name| entry[name].as_u64().unwrap() as u32);
    image::open(sheet).unwrap().crop_imm(x, y, 128, 128).to_rgb8()
}

/// Number of tiles of each layer, by name.
fn counts(scratch: &Scratch) -> Vec<(String, usize)> {
    let count = |entry: &Value| {
        (entry["name"].as_str().unwrap().to_owned(), entry["tiles"].as_array().unwrap().len())
    };
    index(scratch)["layers"].as_array().unwrap().iter().map(count).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Mean difference of two pictures, of 255.
fn apart(one: &RgbImage, other: &RgbImage) -> f64 {
    let differences = one.as_raw().iter().zip(other.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)));
    differences.sum::<f64>() / one.as_raw().len() as f64
}

#[test]
fn an_atlas_has_the_tiles_of_the_service_and_grows() {
    let scratch = Scratch::new();
    atlas(&scratch, TINY, &[]);
    let first = index(&scratch);
    assert_eq!(
        (&first["atlas"], &first["tile"], &first["model"]["id"]),
        (&1.into(), &128.into(), &"tiny_graph".into())
    );
    assert_eq!(first["model"]["sha256"].as_str().unwrap().len(), 64);
    let layers: Vec<String> = counts(&scratch)
        .into_iter()
        .map(|(name, tiles)| {
            assert_eq!(tiles, 1, "{name}");
            name
        })
        .collect();
    assert!(layers.len() >= 3, "{layers:?}");
    assert_eq!(names(&scratch.path("atlas/sheets")), ["layers-1.webp"]);
    assert!(names(&scratch.path("atlas/parts")).is_empty());
    // A tile is what its recipe says.
    let layer = layers.last().unwrap();
    let alone = scratch.text("alone.png");
    let recipe = ["--noise", "128x128", "--octaves", "2", "--iterations", "16", "--step", "2", "--no-recipe"];
    let run = reverie(&[&["render", "-o", &alone, "--model", TINY, "--layer", layer], &recipe[..]].concat());
    assert!(run.status.success(), "{}", errors(&run));
    let (alone, on_sheet) = (image::open(&alone).unwrap().to_rgb8(), tile(&scratch, layer, None));
    assert!(apart(&alone, &on_sheet) < 8.0, "{}", apart(&alone, &on_sheet));
    assert!(apart(&tile(&scratch, &layers[0], None), &on_sheet) > 8.0, "all tiles are the same");
    // More of one layer is added on further sheets; what is there stays.
    let sheet = fs::read(scratch.path("atlas/sheets/layers-1.webp")).unwrap();
    let told = atlas(&scratch, TINY, &["--layer", layer, "--channels", "1"]);
    assert!(told.contains(&format!("has {} tiles, 1 of them new", layers.len() + 1)), "{told}");
    atlas(&scratch, TINY, &["--channels", "2"]);
    assert!(counts(&scratch).iter().all(|(_, tiles)| *tiles == 3), "{:?}", counts(&scratch));
    assert_eq!(fs::read(scratch.path("atlas/sheets/layers-1.webp")).unwrap(), sheet);
    assert!(apart(&tile(&scratch, layer, Some(0)), &tile(&scratch, layer, Some(1))) > 1.0);
    let told = atlas(&scratch, TINY, &["--channels", "2"]);
    assert!(told.contains("0 of them new"), "{told}");
    // A sheet that is gone is rendered again.
    fs::remove_file(scratch.path("atlas/sheets/layers-1.webp")).unwrap();
    let told = atlas(&scratch, TINY, &[]);
    assert!(told.contains(&format!("{} of them new", layers.len())), "{told}");
    assert_eq!(fs::read(scratch.path("atlas/sheets/layers-1.webp")).unwrap(), sheet);
    // The page has the index, and asks for nothing from elsewhere.
    let page = fs::read_to_string(scratch.path("atlas/index.html")).unwrap();
    let embedded = page.split_once("id=\"index\">").unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(serde_json::from_str::<Value>(embedded).unwrap(), index(&scratch));
    assert!(!page.contains("http"), "the page names something on a network");
    // Every layer: those that no picture can come of are left out and told.
    let told = atlas(&scratch, TINY, &["--all"]);
    assert!(counts(&scratch).len() > layers.len(), "{told}");
}

#[test]
fn a_stopped_atlas_goes_on_with_what_is_missing() {
    let scratch = Scratch::new();
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_reverie"), "atlas", "efficientnet-lite0"]);
    command.args(["-o", &scratch.text("atlas"), "--layer", "block3"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("REVERIE__MODELS__DIR", models::models_dir());
    let run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The layer as a whole has a sheet of its own, which is complete; then channels wait for theirs.
    let parts = || fs::read_dir(scratch.path("atlas/parts")).map_or(0, Iterator::count);
    let deadline = Instant::now() + Duration::from_secs(120);
    while !scratch.path("atlas/sheets/layers-1.webp").exists() || parts() < 2 {
        assert!(Instant::now() < deadline, "{} parts", parts());
        thread::yield_now();
    }
    assert!(Command::new("kill").args(["-s", "INT", &run.id().to_string()]).status().unwrap().success());
    let run = run.wait_with_output().unwrap();
    let told = errors(&run);
    assert_eq!(run.status.code(), Some(130), "{told}");
    assert!(told.contains("stopped; ") && told.contains(" of 41 tiles are rendered"), "{told}");
    assert_eq!(counts(&scratch), [("block3".to_owned(), 1)]);
    // What waits is taken as it is: one is marked, to be known again.
    let marked = fs::read_dir(scratch.path("atlas/parts")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(marked.extension().unwrap(), "png");
    RgbImage::from_pixel(128, 128, Rgb([255, 0, 0])).save(&marked).unwrap();
    let left = parts() as u64;
    let told = atlas(&scratch, "efficientnet-lite0", &["--layer", "block3", "--channels", &left.to_string()]);
    assert!(told.contains(&format!("has {} tiles, {left} of them new", left + 1)), "{told}");
    assert_eq!(parts(), 0);
    let red = |channel| {
        let Rgb([red, green, blue]) = *tile(&scratch, "block3", Some(channel)).get_pixel(64, 64);
        red > 230 && green < 30 && blue < 30
    };
    assert_eq!((0..left).filter(|channel| red(*channel)).count(), 1);
}

#[test]
fn a_name_of_a_layer_is_not_obeyed_by_the_terminal() {
    let scratch = Scratch::new();
    let mut model = fs::read(TINY).unwrap();
    // "conv0", with the first character of an escape sequence for its v: as long, so the file is as valid.
    let places: Vec<usize> = (0..model.len()).filter(|place| model[*place..].starts_with(b"conv0")).collect();
    assert!(!places.is_empty());
    for place in places {
        model[place + 3] = 0x1b;
    }
    fs::write(scratch.path("odd.pb"), model).unwrap();
    let (model, atlas, dream) = (scratch.text("odd.pb"), scratch.text("atlas"), scratch.text("dream.png"));
    let quick = ["--noise", "32x32", "--octaves", "1", "--iterations", "1"];
    let all = [
        (vec!["atlas", &model, "-o", &atlas, "--channels", "1"], true),
        ([&["render", "-o", &dream, "--model", &model][..], &quick].concat(), true),
        (vec!["models", "time", &model, "--size", "32x32", "--steps", "1"], true),
        (vec!["models", "layers", &model], false),
    ];
    for (command, takes_a_layer) in all {
        if takes_a_layer {
            let run = reverie(&[&command[..], &["--layer", "conv0"]].concat());
            let told = errors(&run);
            assert!(!run.status.success(), "{command:?}: {told}");
            assert!(told.contains("the closest are con\\u{1b}0,") && !told.contains('\x1b'), "{told}");
        }
        // What is told is taken.
        let more: &[&str] = if takes_a_layer { &["--layer", "con\\u{1b}0"] } else { &[] };
        let run = reverie(&[&command[..], more].concat());
        let told = errors(&run) + &String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && !told.contains('\x1b'), "{command:?}: {told}");
        assert!(command[0] != "models" || told.contains("con\\u{1b}0"), "{command:?}: {told}");
    }
    // Other mistakes about it name it, too.
    let channel = ["--layer", "con\\u{1b}0", "--channel", "9999"];
    let run =
        reverie(&[&["render", "-o", &dream, "--force", "--model", &model][..], &channel, &quick].concat());
    let told = errors(&run);
    assert!(!run.status.success() && told.contains("con\\u{1b}0") && !told.contains('\x1b'), "{told}");
}

#[test]
fn what_is_no_atlas_of_this_model_is_left_alone() {
    let scratch = Scratch::new();
    let refuses = |model: &str, more: &[&str], expected: &[&str]| {
        let run = reverie(&[&["atlas", model, "-o", &scratch.text("atlas")], more].concat());
        let told = errors(&run);
        assert!(!run.status.success(), "{more:?} was accepted");
        for text in expected {
            assert!(told.contains(text), "no {text:?} in {told}");
        }
    };
    refuses("efficientnet-lite0", &["--layer", "blok3"], &["there is no layer \"blok3\"", "block3"]);
    refuses("efficientnet-lite0", &["--all", "--layer", "block3"], &["cannot be used with"]);
    refuses("efficientnet-lite0", &["--channels", "0"], &["0 is not in 1.."]);
    refuses("efficientnet-lite0", &["--device", "cuda:99"], &["there is no device \"cuda:99\""]);
    assert!(!scratch.path("atlas").exists(), "a refused atlas was begun");
    atlas(&scratch, TINY, &[]);
    let before = (fs::read(scratch.path("atlas/index.json")).unwrap(), names(&scratch.path("atlas/sheets")));
    let expected =
        ["index.json: it is of model tiny_graph (sha256 ", "model efficientnet-lite0", "another folder"];
    refuses("efficientnet-lite0", &[], &expected);
    assert_eq!(
        before,
        (fs::read(scratch.path("atlas/index.json")).unwrap(), names(&scratch.path("atlas/sheets")))
    );
    fs::write(scratch.path("atlas/index.json"), "{\"name\": \"web app\"}").unwrap();
    refuses(TINY, &[], &["index.json: this is not the index of an atlas", "another folder"]);
    assert_eq!(fs::read_to_string(scratch.path("atlas/index.json")).unwrap(), "{\"name\": \"web app\"}");
    // A folder of something else, which has no index.json.
    fs::remove_dir_all(scratch.path("atlas")).unwrap();
    for (name, is_folder) in [("index.html", false), ("sheets", true), ("parts", true)] {
        let there = scratch.path("atlas").join(name);
        fs::create_dir_all(scratch.path("atlas")).unwrap();
        match is_folder {
            true => fs::create_dir(&there).unwrap(),
            false => fs::write(&there, "a page of somebody").unwrap(),
        }
        let said = format!("atlas/{name} is there already, and no index.json says");
        refuses(TINY, &[], &[&said, "another folder"]);
        assert_eq!(names(&scratch.path("atlas")), [name]);
        if is_folder {
            assert!(names(&there).is_empty(), "{name}");
        } else {
            assert_eq!(fs::read_to_string(&there).unwrap(), "a page of somebody");
        }
        fs::remove_dir_all(scratch.path("atlas")).unwrap();
    }
    fs::create_dir(scratch.path("atlas")).unwrap();
    symlink(scratch.path("nowhere"), scratch.path("atlas/index.json")).unwrap();
    refuses(TINY, &[], &["atlas/index.json is there already"]);
    assert!(!scratch.path("nowhere").exists());
    // What has other names stays, and an atlas may be beside it.
    fs::remove_file(scratch.path("atlas/index.json")).unwrap();
    fs::write(scratch.path("atlas/index.tmp"), "notes").unwrap();
    atlas(&scratch, TINY, &[]);
    assert_eq!(fs::read_to_string(scratch.path("atlas/index.tmp")).unwrap(), "notes");
    assert_eq!(names(&scratch.path("atlas")), ["index.html", "index.json", "index.tmp", "parts", "sheets"]);
}
