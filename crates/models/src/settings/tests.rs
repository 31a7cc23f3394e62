//! Settings beside the tiny graph of the fixtures: layers `pooled`, `logits` and others, seven classes.

use std::fs;

use super::{super::load_file, *};

/// The tiny graph as `net.pb` with these settings and labels beside it.
fn load(settings: &str, labels: &str) -> Result<Model, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny_graph.pb");
    fs::copy(graph, folder.path().join("net.pb")).unwrap();
    fs::write(folder.path().join("net.toml"), settings).unwrap();
    fs::write(folder.path().join("names.txt"), labels).unwrap();
    load_file(&folder.path().join("net.pb"))
}

#[test]
fn settings_are_taken() {
    let settings = r#"
        description = "Flowers, by Ann."
        licence = "CC BY 4.0"
        default_layer = "conv0"
        labels = "names.txt"
        [preprocessing]
        mean = [103.5, 116.0, 124.0]
        deviation = 2
        order = "bgr"
    "#;
    let model = load(settings, "a\nb\r\nc\nd\ne\n f \nG g").unwrap();
    assert_eq!((&*model.id, &*model.description), ("net", "Flowers, by Ann."));
    assert_eq!(model.licence.as_deref(), Some("CC BY 4.0"));
    assert_eq!((&*model.default_layer, &*model.channel_layer), ("conv0", "conv0"));
    assert_eq!(model.class_layer.as_deref(), Some("logits"));
    assert_eq!(*model.labels.unwrap(), ["a", "b", "c", "d", "e", "f", "G g"]);
    let prepared = Preprocessing { mean: [103.5, 116.0, 124.0], scale: [0.5; 3], bgr: true };
    assert_eq!(model.preprocessing, prepared);
    let model = load("class_layer = \"probabilities\"\n[preprocessing]\nmean = 10", "").unwrap();
    assert_eq!(model.preprocessing, Preprocessing::uniform(10.0, 1.0));
    assert_eq!(model.class_layer.as_deref(), Some("probabilities"));
    assert_eq!(load("", "").unwrap().preprocessing, Preprocessing::uniform(117.0, 1.0));
}

#[test]
fn mistakes_are_named_with_what_is_allowed() {
    let long = format!("a\nb\nc\nd\ne\nf\n{}", "g".repeat(201));
    for (settings, labels, expected) in [
        ("layer = \"conv0\"", "", &["net.toml: line 1: unknown field `layer`", "`default_layer`"][..]),
        ("\n\nlicence = 3", "", &["net.toml: line 3: ", "expected a string"]),
        ("default_layer = ", "", &["net.toml: line 1: "]),
        (
            "default_layer = \"conv00\"",
            "",
            &["net.toml: default_layer: there is no layer \"conv00\"", "conv0"],
        ),
        ("default_layer = \"logits\"", "", &["net.toml: default_layer: ", "has no positions"]),
        ("class_layer = \"logit\"", "", &["net.toml: class_layer: there is no layer \"logit\""]),
        ("[preprocessing]\nmean = [1, 2]", "", &["line 2: expected a number, or a list of three"]),
        ("[preprocessing]\nmean = -1", "", &["preprocessing.mean", "0 to 255 is allowed"]),
        ("[preprocessing]\nmean = nan", "", &["preprocessing.mean", "0 to 255 is allowed"]),
        (
            "[preprocessing]\ndeviation = [1, 0, 1]",
            "",
            &["preprocessing.deviation", "0.001 to 1000000 is allowed"],
        ),
        ("[preprocessing]\norder = \"gbr\"", "", &["line 2: ", "`rgb` or `bgr`"]),
        ("labels = \"names.txt\"", "a\nb", &["names.txt: it has 2 lines, the model has 7 classes"]),
        ("labels = \"names.txt\"", "a\n\nb", &["names.txt: line 2 must have 1 to 200 bytes"]),
        ("labels = \"names.txt\"", &long, &["names.txt: line 7 must have"]),
        ("labels = \"none.txt\"", "", &["net.toml: labels: there is no file \"none.txt\""]),
        ("labels = \"../names.txt\"", "", &["net.toml: labels: ", "in the same folder"]),
        ("labels = \"/etc/passwd\"", "", &["net.toml: labels: ", "in the same folder"]),
    ] {
        let error = load(settings, labels).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{settings}: {error}");
    }
    let error = load(&"#".repeat(MAX_TEXT as usize + 1), "").unwrap_err().to_string();
    assert!(error.contains("net.toml: the file has more than"), "{error}");
}

#[test]
fn a_known_models_pixels_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("efficientnet-lite0.pth");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::copy(root.join("models/efficientnet-lite0.pth"), &file).unwrap();
    fs::write(folder.path().join("efficientnet-lite0.toml"), "default_layer = \"block5\"").unwrap();
    let model = load_file(&file).unwrap();
    assert_eq!((&*model.default_layer, model.licence.as_deref()), ("block5", Some("Apache-2.0")));
    fs::write(folder.path().join("efficientnet-lite0.toml"), "[preprocessing]\nmean = 3").unwrap();
    let error = load_file(&file).unwrap_err().to_string();
    assert!(error.contains("\"efficientnet-lite0\" prepares its pixels in one way everywhere"), "{error}");
}
