//! What `reverie render` dreams of: kinds of objectives, classes by name, sums, and guide images.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/scratch.rs"]
mod scratch;

use std::fs;

use scratch::{QUICK, Scratch};
use serde_json::Value;

#[test]
fn the_kind_of_an_objective_follows_by_the_rules_of_the_api() {
    let scratch = Scratch::new();
    let kind = |more: &[&str]| {
        let output =
            scratch.render("kind.png", &[&["--iterations", "1", "--octaves", "1", "--json"], more].concat());
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        line["spec"]["objectives"][0]["kind"].clone()
    };
    assert_eq!(kind(&["--layer", "block2"]), "l2");
    assert_eq!(kind(&["--layer", "block2", "--channel", "3"]), "mean");
    assert_eq!(kind(&["--layer", "block2", "--channel", "3", "--objective", "l2"]), "l2");
    let spec = scratch.text("spec.json");
    fs::write(&spec, "{\"objectives\": [{\"layer\": \"block2\", \"channels\": [3]}]}").unwrap();
    assert_eq!(kind(&["--spec", &spec]), "mean");
}

#[test]
fn a_class_is_dreamed_by_name_and_its_number_is_what_stays() {
    let scratch = Scratch::new();
    let quick = ["--iterations", "1", "--octaves", "1", "--json"];
    let objective = |output: &str, more: &[&str]| {
        let run = scratch.render(output, &[&quick[..], more].concat());
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        serde_json::from_slice::<Value>(&run.stdout).unwrap()["spec"]["objectives"][0].clone()
    };
    let named = objective("named.png", &["--class", "Lion"]);
    assert_eq!((&named["kind"], &named["class"]), (&"class".into(), &291.into()));
    assert_eq!(objective("numbered.png", &["--class", "291"]), named);
    let [named, numbered] = ["named.png", "numbered.png"].map(|name| fs::read(scratch.path(name)).unwrap());
    assert!(named == numbered, "the recipes differ");
}

#[test]
fn an_objective_can_be_a_sum() {
    let scratch = Scratch::new();
    let spec = |formula: &str, more: &[&str]| {
        let all = ["--objective", formula, "--iterations", "1", "--octaves", "1", "--json"];
        let output = scratch.render("sum.png", &[&all[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        line["spec"]["objectives"].clone()
    };
    let photo = scratch.text("photo.png");
    assert_eq!(
        spec("-2*block2 + 0.5*block3:7,3 - guide(block2)", &["--guide", &photo]),
        serde_json::json!([
            { "kind": "l2", "layer": "block2", "weight": -2.0 },
            { "kind": "mean", "layer": "block3", "channels": [3, 7], "weight": 0.5 },
            { "kind": "guide", "layer": "block2", "weight": -1.0 },
        ])
    );
    assert_eq!(spec("class(lion)", &[])[0]["class"], 291);
    // Minimised and maximised are different dreams.
    let dream = |formula: &str| {
        spec(formula, &[]);
        fs::read(scratch.path("sum.png")).unwrap()
    };
    assert!(dream("block2") != dream("-block2"));
    for (formula, expected) in [
        ("block2 + + block3", "at character 10: expected a layer"),
        ("block2 + 3*blok3", "--objective: in 3*blok3: layer: "),
        ("block2 - 0*block3", "--objective: in 0*block3: weight: must not be 0"),
        ("block2 + block3:99999", "--objective: in block3:99999: channels: "),
        ("class(1000)", "--objective: in class(1000): class: 1000 is not in layer"),
        ("block2 + guide(block2)", "--guide: is needed"),
        (&vec!["block2"; 17].join("+"), "--objective: must be an array of 1 to 16 objectives"),
    ] {
        scratch.refuses(&["--objective", formula], &[expected]);
    }
    scratch.refuses(&["--objective", "block2 + block3", "--layer", "block2"], &["leave out --layer"]);
}

#[test]
fn a_guided_dream_is_replayed_with_its_guide() {
    let scratch = Scratch::new();
    let guide = |name: &str, width: u32| {
        let stripe = |x: u32, _: u32| {
            image::Rgb(if (x / width).is_multiple_of(2) { [250u8, 230, 20] } else { [20, 20, 120] })
        };
        image::RgbImage::from_fn(120, 80, stripe).save(scratch.path(name)).unwrap();
        scratch.text(name)
    };
    let (fine, coarse) = (guide("fine.png", 6), guide("coarse.png", 20));
    let dream = |name: &str, more: &[&str]| {
        let output = scratch.render(name, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (fs::read(scratch.path(name)).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let guided = |guide| [&QUICK[..], &["--objective", "guide", "--guide", guide]].concat();
    let (first, _) = dream("dream.png", &guided(&fine));
    let (other, _) = dream("other.png", &guided(&coarse));
    assert!(first != other);
    let replay = ["--replay", &scratch.text("dream.png"), "--guide"];
    let (again, told) = dream("again.png", &[&replay[..], &[&fine]].concat());
    assert!(again == first && !told.contains("different"), "{told}");
    let (_, told) = dream("again.png", &[&replay[..], &[&coarse]].concat());
    assert!(told.contains("made with a different guide image"), "{told}");
    scratch.refuses(&replay[..2], &["--guide: is needed"]);
    scratch.refuses(&[&QUICK[..], &["--guide", &fine]].concat(), &["--guide: no objective follows it"]);
    fs::write(scratch.path("text.png"), b"no guide").unwrap();
    scratch.refuses(&guided(&scratch.text("text.png")), &["text.png: this is not an image"]);
}
