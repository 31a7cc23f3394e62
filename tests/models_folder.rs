//! A models folder as people fill it: what cannot be used is named where an operator or a client looks, and what stands beside
//! a model holds for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{fs, path::Path};

use common::process::{ServerProcess, reverie};
use prost::Message;
use reverie_import::onnx_proto::{Entry, ModelProto, TensorProto};
use serde_json::{Value, json};

/// EfficientNet-Lite0, the tiny graph with settings, and two files that are none.
fn fill(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = common::models_dir().join("efficientnet-lite0.pth");
    std::os::unix::fs::symlink(model, folder.join("efficientnet-lite0.pth")).unwrap();
    fs::copy(root.join("tests/fixtures/tiny_graph.pb"), folder.join("a-tiny.pb")).unwrap();
    fs::write(folder.join("a-tiny.toml"), "licence = \"CC0\"\ndefault_layer = \"conv0\"").unwrap();
    fs::write(folder.join("page.pth"), "<!doctype html><title>404</title>").unwrap();
    fs::copy(root.join("tests/fixtures/tiny.onnx"), folder.join("odd.onnx")).unwrap();
    fs::write(folder.join("odd.toml"), "defaultlayer = \"conv0\"").unwrap();
}

#[tokio::test]
async fn what_cannot_be_used_is_named_and_the_best_is_the_default() {
    let (data, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(models.path());
    let settings = [("REVERIE__MODELS__DIR", models.path().to_str().unwrap())];
    let server = ServerProcess::start(data.path(), &settings).await;
    let list: Value = server.client.get("/v1/models").await.json().await.unwrap();
    assert_eq!(list["default"], "efficientnet-lite0");
    let told: Vec<_> = list["models"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(told, ["a-tiny", "efficientnet-lite0"]);
    let tiny = &list["models"][0];
    assert_eq!((&tiny["licence"], &tiny["default_layer"]), (&json!("CC0"), &json!("conv0")));
    assert_eq!((&tiny["default"], &list["models"][1]["default"]), (&json!(false), &json!(true)));
    assert_eq!(list["models"][1]["licence"], "Apache-2.0");
    let unreadable = list["unreadable"].as_array().unwrap();
    let files: Vec<_> = unreadable.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["odd.toml", "page.pth"]);
    assert!(unreadable[0]["reason"].as_str().unwrap().contains("unknown field `defaultlayer`"), "{list}");
    assert!(unreadable[1]["reason"].as_str().unwrap().starts_with("this is a web page"), "{list}");
}

#[tokio::test]
async fn the_check_of_the_configuration_names_them_too() {
    let (data, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(models.path());
    let check = async |settings: &[(&str, &str)]| {
        let mut command = reverie(data.path(), settings);
        command.args(["serve", "--check-config"]).stderr(std::process::Stdio::piped());
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (right, said, warned) = check(&[("REVERIE__MODELS__DIR", models.path().to_str().unwrap())]).await;
    assert!(
        right && said.contains("models: a-tiny, efficientnet-lite0; by default efficientnet-lite0"),
        "{said}"
    );
    assert!(warned.contains("odd.toml: line 1: unknown field"), "{warned}");
    assert!(warned.contains("page.pth: this is a web page"), "{warned}");
    let (right, _, warned) = check(&[("REVERIE__MODELS__DIR", "/nowhere")]).await;
    assert!(right && warned.contains("there are no models in /nowhere, which does not exist"), "{warned}");
}

/// Without a name for the folder, models are found in the user's data folder, wherever the program is started.
#[tokio::test]
async fn the_users_data_folder_is_searched() {
    let home = tempfile::tempdir().unwrap();
    let models = home.path().join("reverie/models");
    fs::create_dir_all(&models).unwrap();
    fill(&models);
    let mut command = reverie(home.path(), &[]);
    command.env_remove("REVERIE__MODELS__DIR").env("XDG_DATA_HOME", home.path()).current_dir(home.path());
    let output = command.args(["models", "list"]).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let default = said.lines().find(|line| line.ends_with("(default)")).unwrap();
    assert!(default.starts_with("efficientnet-lite0") && said.contains("a-tiny"), "{said}");
}

/// The tiny ONNX file as PyTorch's exporter writes one: its weights in a second file.
fn in_two_files(folder: &Path, name: &str) {
    let file = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny.onnx")).unwrap();
    let mut model = ModelProto::decode(&*file).unwrap();
    let mut data = Vec::new();
    for bytes in &mut model.graph.as_mut().unwrap().initializer {
        let mut tensor = TensorProto::decode(bytes.clone()).unwrap();
        if tensor.raw_data.is_empty() {
            continue;
        }
        let values = std::mem::take(&mut tensor.raw_data);
        let entry = |key: &str, value: String| Entry { key: key.to_owned(), value };
        tensor.data_location = 1;
        tensor.external_data = vec![
            entry("location", format!("{name}.onnx.data")),
            entry("offset", data.len().to_string()),
            entry("length", values.len().to_string()),
        ];
        data.extend_from_slice(&values);
        *bytes = tensor.encode_to_vec().into();
    }
    assert!(data.len() > 1000, "{} bytes of weights", data.len());
    // The version of the format comes first.
    let file = [&[8, 8], &model.encode_to_vec()[..]].concat();
    fs::write(folder.join(format!("{name}.onnx")), file).unwrap();
    fs::write(folder.join(format!("{name}.onnx.data")), data).unwrap();
}

#[tokio::test]
async fn weights_in_a_second_file_are_part_of_the_model() {
    let (data, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, fixtures) = (models.path(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
    fs::copy(fixtures.join("tiny.onnx"), folder.join("whole.onnx")).unwrap();
    in_two_files(folder, "parted");
    let run = async |arguments: &[&str]| {
        let mut command = reverie(data.path(), &[("REVERIE__MODELS__DIR", folder.to_str().unwrap())]);
        command.args(arguments).stderr(std::process::Stdio::piped());
        let output = command.output().await.unwrap();
        (
            output.status.success(),
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()),
        )
    };
    let reference = fixtures.join("tiny_onnx_33x47.npz");
    for model in ["whole", "parted"] {
        let (good, said) =
            run(&["models", "verify", model, "--reference", reference.to_str().unwrap()]).await;
        assert!(good, "{model}: {said:?}");
    }
    // They count for the hash that a recipe names.
    let hash = async |model: &str| {
        let (_, [list, _]) = run(&["models", "list"]).await;
        let line = list.lines().find(|line| line.starts_with(model)).unwrap_or_else(|| panic!("{list}"));
        line.split("sha256 ").nth(1).unwrap()[..12].to_owned()
    };
    let before = hash("parted").await;
    let weights = folder.join("parted.onnx.data");
    let mut changed = fs::read(&weights).unwrap();
    changed[0] ^= 1;
    fs::write(&weights, &changed).unwrap();
    assert_ne!(hash("parted").await, before);

    for (content, told) in [
        (Some(&changed[..8]), "which has 8 bytes: is it whole?"),
        (None, "its weights are in the file \"parted.onnx.data\", which must lie beside it: No such file"),
    ] {
        match content {
            Some(content) => fs::write(&weights, content).unwrap(),
            None => fs::remove_file(&weights).unwrap(),
        }
        let (good, [list, warned]) = run(&["models", "list"]).await;
        assert!(good && list.contains("whole") && !list.contains("parted "), "{list}");
        assert!(warned.contains("parted.onnx: ") && warned.contains(told), "{warned}");
    }
}
