//! The command line as a person uses it: the built program, real files, the real model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/scratch.rs"]
mod scratch;

use std::fs;

use scratch::{QUICK, Scratch, reverie};
use serde_json::Value;

#[test]
fn a_dream_is_rendered_and_replayed_to_the_same_bytes() {
    let scratch = Scratch::new();
    for ending in ["png", "jpg", "webp"] {
        let name = format!("dream.{ending}");
        let output = scratch.render(&name, &[&QUICK[..], &["--seed", "5", "--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(90), Some(70)));
        assert_eq!(line["spec"]["seed"], 5);
        assert!(line["score"].as_f64().unwrap() > 0.0 && line["render_seconds"].as_f64().unwrap() > 0.0);
        let (dream, again) = (fs::read(scratch.path(&name)).unwrap(), format!("again.{ending}"));
        assert_ne!(dream, fs::read(scratch.path("photo.png")).unwrap());
        let output = scratch.render(&again, &["--replay", &scratch.text(&name)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fs::read(scratch.path(&again)).unwrap() == dream, "{ending}: the replay differs");
        let output = scratch.render("plain.png", &["--replay", &scratch.text(&name), "--no-recipe"]);
        assert!(output.status.success());
        scratch.render("third.png", &["--replay", &scratch.text("plain.png")]);
        assert!(!scratch.path("third.png").exists(), "a picture without a recipe was replayed");
    }
}

#[test]
fn a_dream_can_start_from_noise_and_grow() {
    let scratch = Scratch::new();
    let output = scratch.text("noise.png");
    let arguments = ["render", "-o", &output, "--preset", "multiscale", "--noise", "40x30"];
    let run = reverie(&[&arguments[..], &QUICK, &["--json"]].concat());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let line: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((line["width"].as_u64(), line["height"].as_u64()), (Some(56), Some(42)));
    assert_eq!(image::image_dimensions(&output).unwrap(), (56, 42));
}

/// A photo of this size beside the small one.
fn wide(scratch: &Scratch, width: u32, height: u32) -> String {
    let image = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x % 251) as u8, (y * 5) as u8, (x ^ y) as u8])
    });
    image.save(scratch.path("wide.png")).unwrap();
    scratch.text("wide.png")
}

/// Renders `photo` to `output` with further arguments; the line of JSON about it.
fn rendered(photo: &str, output: &str, more: &[&str]) -> Value {
    let run = reverie(&[&["render", photo, "-o", output, "--layer", "block3", "--json"], more].concat());
    assert!(run.status.success(), "{more:?}: {}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[test]
fn a_photo_is_dreamed_at_a_largest_edge_and_can_have_its_size_again() {
    let scratch = Scratch::new();
    let (photo, output) = (wide(&scratch, 1300, 24), scratch.text("dream.png"));
    let size = || image::image_dimensions(&output).unwrap();
    let shrunk = rendered(&photo, &output, &["--iterations", "1"]);
    assert_eq!((size(), &shrunk["width"]), ((1280, 24), &Value::from(1280)));
    assert_eq!((&shrunk["spec"]["max_edge"], &shrunk["spec"]["octaves"]), (&1280.into(), &"auto".into()));
    let note = shrunk["notes"][0].as_str().unwrap();
    assert!(note.contains("1300×24") && note.contains("1280×24") && note.contains("restore_size"), "{note}");
    // The recipe has the rule, so that a replay makes the same picture, with its size and without.
    for more in [&["--max-edge", "300"][..], &["--max-edge", "300", "--restore-size", "--iterations", "auto"]]
    {
        let line = rendered(&photo, &output, more);
        let restored = line["spec"]["restore_size"] == true;
        assert_eq!(size(), if restored { (1300, 24) } else { (300, 6) }, "{line}");
        assert_eq!(line["notes"].as_array().unwrap().is_empty(), restored, "{line}");
        let dream = fs::read(&output).unwrap();
        let again = scratch.text("again.png");
        let replay = reverie(&["render", &photo, "-o", &again, "--replay", &output]);
        assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
        assert!(fs::read(&again).unwrap() == dream, "{more:?}: the replay differs");
    }
    // What is not shrunk stays as it was, and the article's presets shrink nothing.
    for more in [
        &["--max-edge", "0"][..],
        &["--preset", "deepdream"],
        &["--preset", "deepdream", "--max-edge", "2000"],
    ] {
        let line = rendered(&photo, &output, &[&["--iterations", "1"][..], more].concat());
        assert_eq!((size(), line["notes"].as_array().unwrap().len()), ((1300, 24), 0), "{line}");
    }
    scratch.refuses(&["--max-edge", "70000"], &["--max-edge: 70000 is not allowed", "from 0 to 65535"]);
    scratch.refuses(&["--octave-mode", "enlarge", "--restore-size"], &["--restore-size: needs octave_mode"]);
    scratch.refuses(&["--octaves", "many"], &["must be a whole number, or auto"]);
}

#[test]
fn a_share_of_the_photos_colours_comes_back() {
    let scratch = Scratch::new();
    let mut colors = Vec::new();
    for (share, kept) in [
        ("--preserve-colors=false", Value::Bool(false)),
        ("--preserve-colors=0.5", 0.5.into()),
        ("--preserve-colors", Value::Bool(true)),
    ] {
        let output = scratch.text("colors.png");
        let line = rendered(&scratch.text("photo.png"), &output, &["--iterations", "3", share]);
        assert_eq!(line["spec"]["preserve_colors"], kept, "{share}");
        let (photo, dream) = (scratch.text("photo.png"), output);
        let [photo, dream] = [photo, dream].map(|path| image::open(path).unwrap().into_rgb8());
        // How far red and blue are from where they were to each other.
        let apart = |pixel: &image::Rgb<u8>| f64::from(pixel.0[0]) - f64::from(pixel.0[2]);
        let moved = photo.pixels().zip(dream.pixels()).map(|(from, to)| (apart(from) - apart(to)).abs());
        colors.push(moved.sum::<f64>() / f64::from(photo.width() * photo.height()));
    }
    assert!(colors[0] > 1.5 * colors[1] && colors[1] > 1.5 * colors[2], "{colors:?}");
    scratch.refuses(&["--preserve-colors=2"], &["--preserve-colors: 2.0 is not allowed", "from 0 to 1"]);
}

#[test]
fn looks_are_listed_and_dreamed() {
    let scratch = Scratch::new();
    let list = reverie(&["looks", "--json"]);
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let looks: Vec<Value> = String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(looks.len() >= 8 && looks[0]["id"] == "animals", "{looks:?}");
    let glass = looks.iter().find(|look| look["id"] == "glass").unwrap();
    let table = reverie(&["looks", "efficientnet-lite0"]);
    assert_eq!(String::from_utf8(table.stdout).unwrap().lines().count(), looks.len());
    let output = scratch.text("glass.png");
    let run = |more: &[&str]| {
        let run = reverie(
            &[&["render", &scratch.text("photo.png"), "-o", &output, "--iterations", "1", "--json"], more]
                .concat(),
        );
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        serde_json::from_slice::<Value>(&run.stdout).unwrap()["spec"].clone()
    };
    let spec = run(&["--look", "glass"]);
    assert_eq!(spec["objectives"][0]["layer"], glass["spec"]["objectives"][0]["layer"]);
    assert_eq!(
        (&spec["iterations"], &spec["preserve_colors"], spec.get("look")),
        (&1.into(), &0.55.into(), None)
    );
    // Other options win, and so does what a replay says.
    assert_eq!(run(&["--look", "glass", "--layer", "block5"])["objectives"][0]["layer"], "block5");
    scratch.refuses(
        &["--look", "nightmare"],
        &["--look: model \"efficientnet-lite0\" has no look", "it has animals"],
    );
    scratch.refuses(&["--look", "glass", "--replay", &output], &["cannot be used with"]);
}

#[test]
fn too_many_octaves_for_a_small_image_are_left_out_and_told() {
    let scratch = Scratch::new();
    let many = ["--layer", "block0", "--iterations", "1", "--octaves", "16", "--json"];
    let output = scratch.render("small.png", &many);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(line["notes"][0].as_str().unwrap().contains("of 16 octaves were dreamed"), "{line}");
}

#[test]
fn mistakes_are_told_and_leave_nothing_behind() {
    let scratch = Scratch::new();
    scratch.refuses(&["--layer", "blok10"], &["--layer: ", "there is no layer \"blok10\"", "block10"]);
    scratch.refuses(
        &["--layer", "block10", "--channel", "112"],
        &["--channel: 112 is not", "channels 0 to 111"],
    );
    scratch.refuses(&["--class", "1000"], &["--class: 1000 is not", "classes 0 to 999"]);
    scratch.refuses(&["--class", "lino"], &["--class: there is no class \"lino\"", "lion (291)"]);
    scratch.refuses(
        &["--class", "retriever"],
        &["--class: \"retriever\" is ambiguous", "golden retriever (207)", "or 2 more"],
    );
    scratch.refuses(
        &["--iterations", "0", "--octaves", "99", "--step", "-1e9", "--preset", "nightmare"],
        &[
            "--iterations: 0 is not allowed",
            "from 1 to 1000",
            "--octaves: 99",
            "--step: -1000000000.0",
            "--preset: \"nightmare\"",
        ],
    );
    scratch.refuses(&["--octave-scale", "1"], &["--octave-scale: 1.0 is not allowed", "from 1.05 to 4"]);
    scratch.refuses(&["--step", "NaN"], &["--step", "must be a number such as 1.5"]);
    scratch.refuses(&["--blend", "inf"], &["--blend", "must be a number such as 1.5"]);
    scratch.refuses(&["--mask-feather", "3"], &["--mask-feather: ", "none was sent"]);
    scratch.refuses(&["--objective", "probability"], &["--class: is needed"]);
    scratch.refuses(&["--model", "resnet"], &["resnet"]);
    scratch.refuses(&["--device", "cuda:99"], &["there is no device \"cuda:99\"", "auto, cpu"]);
    scratch.refuses(&["--noise", "10x10"], &["--noise: an image was sent too"]);
    scratch.refuses(
        &["--no-jitter", "--seed", "9007199254740992"],
        &["--seed: 9007199254740992 is not allowed"],
    );
    scratch.refuses(&["--objective", "sum"], &["--objective: in sum: layer: ", "there is no layer \"sum\""]);
    scratch.refuses(&["--noise", "ten"], &["224x224"]);
    fs::write(scratch.path("model.pb"), b"\x0a\x05nonsense").unwrap();
    scratch.refuses(&["--model", &scratch.text("model.pb")], &["GraphDef"]);
    let output = scratch.render("dream.bmp", &[]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("must end in .png"));
    fs::write(scratch.path("photo.png"), b"not an image").unwrap();
    scratch.refuses(&QUICK, &["photo.png: ", "send PNG, JPEG, WebP, GIF, BMP"]);
    fs::write(scratch.path("photo.png"), b"").unwrap();
    scratch.refuses(&QUICK, &["photo.png is empty (0 bytes)"]);
    let no_input = reverie(&["render", "-o", &scratch.text("refused.png")]);
    assert_eq!(no_input.status.code(), Some(1));
    assert!(String::from_utf8(no_input.stderr).unwrap().contains("give an image file, or --noise 224x224"));
}

#[test]
fn mistakes_in_files_are_told_with_the_file() {
    let scratch = Scratch::new();
    let spec = scratch.text("spec.json");
    let refuses = |text: &str, more: &[&str], expected: &[&str]| {
        fs::write(&spec, text).unwrap();
        scratch.refuses(&[&["--spec", &spec], more].concat(), expected);
    };
    refuses("{\"octaves\": 0}", &[], &["spec.json: /octaves: 0 is not allowed"]);
    refuses(
        "{\"octaves\": 0, \"seed\": -1}",
        &["--octaves", "99"],
        &["--octaves: 99", "spec.json: /seed: -1"],
    );
    refuses("{\"objectives\": [{}, {\"layer\": \"none\"}]}", &[], &["spec.json: /objectives/1/layer: "]);
    refuses("{\"seed\": 1, \"seed\": 2}", &[], &["spec.json: the member \"seed\" is given twice at line 1"]);
    refuses("{\"mask\": {\"feather\": 1, \"feather\": 2}}", &[], &["\"feather\" is given twice"]);
    refuses("[1]", &[], &["spec.json: the spec must be a JSON object"]);
    refuses("", &[], &["spec.json is empty"]);
    fs::write(scratch.path("mask.png"), b"no mask").unwrap();
    let mask = scratch.text("mask.png");
    scratch.refuses(&[&QUICK[..], &["--mask", &mask]].concat(), &["mask.png: this is not an image"]);
    image::GrayImage::new(91, 70).save(&mask).unwrap();
    scratch.refuses(&[&QUICK[..], &["--mask", &mask]].concat(), &["mask.png: the mask has 91×70 pixels"]);
    let photo = fs::read(scratch.path("photo.png")).unwrap();
    fs::write(scratch.path("photo.png"), &photo[..photo.len() / 2]).unwrap();
    scratch.refuses(&QUICK, &["photo.png: the PNG file cannot be decoded"]);
}

#[test]
fn pictures_of_any_shape_are_dreamed() {
    let scratch = Scratch::new();
    for (width, height) in [(1, 1), (1, 700), (700, 1), (2, 3), (3000, 5)] {
        let pixel = |x, y| image::Rgb([(x % 256) as u8, (y % 256) as u8, 90]);
        image::RgbImage::from_fn(width, height, pixel).save(scratch.path("photo.png")).unwrap();
        let output = scratch.render("thin.png", &[&QUICK[..], &["--max-edge", "0"]].concat());
        assert!(output.status.success(), "{width}×{height}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(image::image_dimensions(scratch.path("thin.png")).unwrap(), (width, height));
    }
    // A network that does not pad its borders needs more than that.
    let output = scratch.render("thin.png", &["--model", "tests/fixtures/tiny_graph.pb", "--max-edge", "0"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() || (told.contains("×5 pixels") && told.contains("maxpool_valid")),
        "{told}"
    );
}

#[test]
fn a_masked_dream_is_replayed_with_its_mask() {
    let scratch = Scratch::new();
    let half = image::GrayImage::from_fn(90, 70, |x, _| image::Luma([if x < 45 { 255 } else { 0 }]));
    half.save(scratch.path("mask.png")).unwrap();
    let mask = scratch.text("mask.png");
    let output =
        scratch.render("dream.png", &[&QUICK[..], &["--mask", &mask, "--mask-feather", "0"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [dream, photo] =
        ["dream.png", "photo.png"].map(|name| image::open(scratch.path(name)).unwrap().into_rgb8());
    let same = |from, to| (from..to).all(|x| (0..70).all(|y| dream.get_pixel(x, y) == photo.get_pixel(x, y)));
    assert!(same(45, 90) && !same(0, 45));
    let again = ["--replay", &scratch.text("dream.png"), "--mask", &mask];
    assert!(scratch.render("again.png", &again).status.success());
    assert!(fs::read(scratch.path("dream.png")).unwrap() == fs::read(scratch.path("again.png")).unwrap());
    image::GrayImage::new(91, 70).save(scratch.path("mask.png")).unwrap();
    let output = scratch.render("other.png", &[&QUICK[..], &["--mask", &mask]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("91×70") && told.contains("90×70") && !scratch.path("other.png").exists(),
        "{told}"
    );
}

#[test]
fn models_are_listed_with_their_layers() {
    let list = String::from_utf8(reverie(&["models", "list"]).stdout).unwrap();
    assert!(list.contains("efficientnet-lite0"), "{list}");
    let layers = reverie(&["models", "layers", "efficientnet-lite0", "--json"]).stdout;
    let layers: Vec<Value> =
        serde_json::Deserializer::from_slice(&layers).into_iter().map(Result::unwrap).collect();
    let block = layers.iter().find(|layer| layer["name"] == "block10").unwrap();
    assert_eq!((&block["channels"], &block["stride"]), (&112.into(), &16.into()));
    let classes = reverie(&["models", "classes", "efficientnet-lite0", "--like", "LION"]).stdout;
    let classes = String::from_utf8(classes).unwrap();
    assert!(classes.contains(" 291 lion\n") && !classes.contains("tiger"), "{classes}");
    let table =
        String::from_utf8(reverie(&["models", "layers", "tests/fixtures/tiny_graph.pb"]).stdout).unwrap();
    assert!(table.contains("convolutions") && table.contains("receptive field"), "{table}");
    let told = String::from_utf8(reverie(&["models", "layers", "efficientnet-lite0"]).stdout).unwrap();
    let expected =
        "by default: block10; worth a look: block1, block2, block3, block4, block6, block8, block9, block10";
    assert!(told.contains(expected), "{told}");
    let seams = reverie(&["models", "seams", "efficientnet-lite0", "assets/sample.jpg", "--layer", "blck3"]);
    let told = String::from_utf8(seams.stderr).unwrap();
    assert!(!seams.status.success() && told.contains("no layer \"blck3\"; the closest are block3"), "{told}");
}

#[test]
fn verification_passes_and_fails_by_exit_code() {
    let verify = |reference: &str| {
        let model = "tests/fixtures/tiny_graph.pb";
        reverie(&["models", "verify", model, "--reference", reference])
    };
    let good = verify("tests/fixtures/tiny_graph_33x47.npz");
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(String::from_utf8(good.stdout).unwrap().lines().filter(|line| line.contains("ok")).count() > 15);
    let kernels = |kernels: &str| {
        let model = ["models", "verify", "tests/fixtures/tiny_graph.pb", "--reference"];
        let rest = ["tests/fixtures/tiny_graph_33x47.npz", "--kernels", kernels];
        reverie(&[&model[..], &rest[..]].concat())
    };
    assert!(kernels("library").status.success());
    assert!(String::from_utf8(kernels("fast").stderr).unwrap().contains("use auto or library"));
    let missing = verify("tests/fixtures/none.npz");
    assert!(!missing.status.success());
    assert!(String::from_utf8(missing.stderr).unwrap().contains("none.npz"));
    let stranger = verify("tests/fixtures/efficientnet_lite0_160x192.npz");
    assert!(!stranger.status.success());
    assert!(String::from_utf8(stranger.stderr).unwrap().contains("names neither a layer nor an objective"));
}

#[test]
fn a_machine_tests_itself() {
    // The CPU's own kernels, and what a GPU computes.
    for kernels in ["auto", "library"] {
        let run = reverie(&["selftest", "--quick", "--device", "cpu", "--kernels", kernels, "--json"]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let report: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!((&report["device"], &report["failures"]), (&"cpu".into(), &Value::Array(vec![])));
        assert!(report["checks"].as_u64().unwrap() > 20, "{report}");
        let worst = |quantity: &str| report["worst"][quantity].as_f64().unwrap();
        assert!(worst("activation") < 1e-4 && worst("gradient") < 1e-3, "{report}");
        let dreams = report["dreams"].as_array().unwrap();
        let precisions: Vec<&Value> = dreams.iter().map(|dream| &dream["precision"]).collect();
        assert_eq!(precisions, ["fp32", "bf16"]);
        assert!(dreams.iter().all(|dream| dream["same_bytes"] == true), "{report}");
        assert_eq!(report["loads"].as_array().unwrap().len(), 3);
    }
    let run = reverie(&["selftest", "--device", "cuda:4096"]);
    let message = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && message.contains("there is no device \"cuda:4096\""), "{message}");
    let run = reverie(&["selftest", "--model", "nothing", "--device", "cpu"]);
    assert!(!run.status.success() && String::from_utf8_lossy(&run.stderr).contains("nothing"));
}
