//! Model files that are recognised, and folders of them.

use reverie_dream::model::Preprocessing;

use super::*;

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn load(folder: &Path) -> Result<Folder, ModelError> {
    load_folders(&[folder.to_owned()])
}

#[test]
fn the_default_model_is_recognised_by_its_content() {
    let model = load_file(&manifest("models/efficientnet-lite0.pth")).unwrap();
    assert_eq!(model.id, "efficientnet-lite0");
    assert_eq!(model.sha256, KnownModel::claimed_by("efficientnet-lite0").unwrap().hash.digits());
    assert_eq!(model.preprocessing, Preprocessing::uniform(127.0, 1.0 / 128.0));
    assert_eq!((model.default_layer.as_str(), model.channel_layer.as_str()), ("block10", "block10"));
    let channels = |layer: &str| model.network.channels(model.network.find(layer).unwrap());
    assert_eq!(channels(&model.default_layer), 112);
    assert_eq!(channels(model.class_layer.as_deref().unwrap()), 1000);
    assert_eq!(model.labels.unwrap()[291], "lion");
}

#[test]
fn a_caffe_network_does_not_dream_of_its_classifier() {
    // Its linear layers read maps, and are convolutions here. The dropout before them hands the last pooling on.
    for name in ["tiny.caffemodel", "tiny_v1.caffemodel"] {
        let model = load_file(&manifest(&format!("tests/fixtures/{name}"))).unwrap();
        assert_eq!((&*model.default_layer, model.class_layer.as_deref()), ("drop", Some("logits")), "{name}");
        assert!(model.featured.contains(&model.default_layer) && (6..=12).contains(&model.featured.len()));
    }
}

#[test]
fn a_graph_without_the_articles_layers_gets_usable_defaults() {
    let model = load_file(&manifest("tests/fixtures/tiny_graph.pb")).unwrap();
    assert_eq!(model.id, "tiny_graph");
    assert_eq!(model.preprocessing, Preprocessing::uniform(117.0, 1.0));
    assert_eq!(model.default_layer, "pooled");
    assert_eq!(model.channel_layer, "pooled");
    assert_eq!(model.class_layer.as_deref(), Some("logits"));
}

#[test]
fn a_known_name_demands_the_known_hash() {
    let dir = tempfile::tempdir().unwrap();
    let sha256 = load_file(&manifest("tests/fixtures/tiny_graph.pb")).unwrap().sha256;
    let names = [
        "inception5h.pb",
        "tensorflow_inception_graph.pb",
        "efficientnet-lite0.pth",
        "bvlc_googlenet.caffemodel",
    ];
    for name in names {
        let path = dir.path().join(name);
        std::fs::copy(manifest("tests/fixtures/tiny_graph.pb"), &path).unwrap();
        let error = load_file(&path).unwrap_err();
        assert!(matches!(error, ModelError::WrongHash { .. }), "{error}");
        let text = error.to_string();
        let known = KnownModel::claimed_by(path.file_stem().unwrap().to_str().unwrap()).unwrap();
        let sha1 = "d8ac9aa48e56d47ac516887734c7d1662cc0dafe";
        let found = if known.hash.algorithm() == "sha1" { sha1.to_owned() } else { sha256.clone() };
        assert!(text.contains(&known.hash.demand()) && text.contains(&found), "{text}");
    }
}

#[test]
fn a_folder_yields_a_catalogue_or_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    let error = load(&missing).unwrap_err().to_string();
    assert!(error.contains("does not exist; run scripts/setup"), "{error}");
    std::fs::write(dir.path().join("notes.txt"), "no model").unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("run scripts/setup"), "{error}");

    let graph = manifest("tests/fixtures/tiny_graph.pb");
    for name in ["b.pb", "a.pb"] {
        std::fs::copy(&graph, dir.path().join(name)).unwrap();
    }
    let Folder { catalogue, refused } = load(dir.path()).unwrap();
    assert_eq!((catalogue.ids(), refused.len()), (vec!["a", "b"], 0));
    assert_eq!(catalogue.default_id(), "a");
}

#[test]
fn a_file_that_cannot_be_used_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let graph = manifest("tests/fixtures/tiny_graph.pb");
    for name in ["a.pb", "a.pt", "my model.pb"] {
        std::fs::copy(&graph, dir.path().join(name)).unwrap();
    }
    for (name, content) in [
        ("._a.pb", &b"\0\x05\x16\x07\0\x02\0\0Mac OS X"[..]),
        (".hidden.pth", b"no model"),
        ("cut.pt", b"no graph"),
        ("page.pb", b"<!DOCTYPE html><html>404"),
        ("pointer.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n"),
        ("empty.onnx", b""),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let Folder { catalogue, refused } = load(dir.path()).unwrap();
    assert_eq!(catalogue.ids(), ["a"]);
    assert!(catalogue.get("a").unwrap().path.ends_with("a.pb"));
    // Clients see no folders.
    let told: Vec<_> = refused.iter().map(|error| error.unreadable().unwrap()).collect();
    assert_eq!(catalogue.unreadable(), told);
    let folder = dir.path().display().to_string();
    assert!(told.iter().all(|file| !file.file.contains('/') && !file.reason.contains(&folder)), "{told:#?}");
    assert_eq!((&*told[4].file, &*told[3].reason), ("page.pb", "this is empty"));
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    let expected = [
        ("a.pt", "a.pb is called \"a\" too; rename one of them"),
        ("my model.pb", "only letters, digits"),
        ("cut.pt", "this is not a complete TensorFlow GraphDef"),
        ("empty.onnx", "this is empty"),
        ("page.pb", "this is a web page"),
        ("pointer.pth", "this is a Git LFS pointer, not the model itself; fetch that with `git lfs pull`"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:#?}");
    for (message, (file, problem)) in refused.iter().zip(expected) {
        assert!(message.contains(file) && message.contains(problem) && !message.contains('\n'), "{message}");
    }
    // Where none is left, the first says why.
    for name in ["a.pb", "a.pt", "my model.pb"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("cut.pt"), "{error}");
}

#[test]
fn the_best_model_is_the_default_and_earlier_folders_win() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folders = [first.path().to_owned(), second.path().to_owned()];
    let graph = manifest("tests/fixtures/tiny_graph.pb");
    std::fs::copy(&graph, first.path().join("a.pb")).unwrap();
    std::fs::copy(manifest("tests/fixtures/tiny.onnx"), second.path().join("a.onnx")).unwrap();
    std::fs::copy(&graph, second.path().join("b.pb")).unwrap();
    let default = || load_folders(&folders).unwrap().catalogue.default_id().to_owned();
    assert_eq!((default(), load_best(&folders).unwrap().id), ("a".into(), "a".into()));
    let catalogue = load_folders(&folders).unwrap().catalogue;
    assert_eq!(catalogue.ids(), ["a", "b"]);
    assert!(catalogue.get("a").unwrap().path.starts_with(first.path()) && catalogue.unreadable().is_empty());
    let known = manifest("models/efficientnet-lite0.pth");
    std::os::unix::fs::symlink(known, second.path().join("efficientnet-lite0.pth")).unwrap();
    assert_eq!(default(), "efficientnet-lite0");
    assert_eq!(load_best(&folders).unwrap().id, "efficientnet-lite0");
    let ids = ["a", "efficientnet-lite0", "inception5h", "efficientnet-lite2"];
    for (count, expected) in
        [(0, None), (1, Some("a")), (2, Some(ids[1])), (3, Some(ids[2])), (4, Some(ids[2]))]
    {
        assert_eq!(best(ids[..count].iter().copied()), expected);
    }
    assert_eq!(best([ids[1], ids[3]].into_iter()), Some(ids[3]));
    // A damaged one does not count, and one of a later folder takes its place.
    std::fs::write(first.path().join("efficientnet-lite0.pth"), "cut").unwrap();
    let Folder { catalogue, refused } = load_folders(&folders).unwrap();
    assert!(
        refused.len() == 1 && catalogue.get("efficientnet-lite0").unwrap().path.starts_with(second.path())
    );
}

#[test]
fn a_name_that_cannot_be_an_id_is_refused() {
    let error = load_file(Path::new("models/my model.pb")).unwrap_err();
    assert!(matches!(error, ModelError::Name { .. }), "{error}");
}

#[test]
fn one_model_of_a_folder_is_loaded_by_id() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(manifest("tests/fixtures/tiny_graph.pb"), dir.path().join("tiny.pb")).unwrap();
    std::fs::write(dir.path().join("broken.pb"), "no graph").unwrap();
    let folders = [dir.path().join("none"), dir.path().to_owned()];
    assert_eq!(load_id(&folders, "tiny").unwrap().id, "tiny");
    let error = load_id(&folders, "tinny").unwrap_err().to_string();
    assert!(
        error.starts_with("there is no model \"tinny\"") && error.ends_with("available are broken, tiny")
    );
    assert_eq!(load_id(&[manifest("models")], "efficientnet-lite0").unwrap().default_layer, "block10");
}
