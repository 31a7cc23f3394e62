//! What the shipped deployments set is what the program takes.

use super::{common, shipped};

#[tokio::test]
async fn the_settings_of_the_pods_are_right() {
    let folder = tempfile::tempdir().unwrap();
    // In place of the Secret and of the image's folders.
    let secret = [("REVERIE__STORAGE__DATABASE", "postgres://reverie:secret@postgres.example.org/reverie")];
    let settings = std::fs::read_to_string(shipped("kubernetes/base/reverie.toml")).unwrap();
    assert!(settings.contains("\nmode = \"keys\"\n"), "strangers are let in");
    let mut command = common::process::ServerProcess::command(folder.path(), &secret);
    command
        .args(["--workers", "0", "--check-config", "--config"])
        .arg(shipped("kubernetes/base/reverie.toml"));
    // What the tests set otherwise would hide what the file says.
    for name in ["SERVER__LISTEN", "SERVER__ADMIN_LISTEN", "STORAGE__DIR", "LOG__FILTER"] {
        command.env_remove(format!("REVERIE__{name}"));
    }
    let output = command.stderr(std::process::Stdio::piped()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The containers of `compose.yaml`, which says all by environment: each line below `environment:` of its services.
#[tokio::test]
async fn the_settings_of_compose_are_right() {
    let text = std::fs::read_to_string(shipped("compose.yaml")).unwrap();
    let settings: Vec<(&str, String)> = text
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(name, _)| name.starts_with("REVERIE__"))
        .map(|(name, value)| {
            let value = value.trim_matches('"').replace("${POSTGRES_PASSWORD:?see compose.env.example}", "x");
            let key = format!("rvk_{}_{}", "0".repeat(16), "1".repeat(64));
            (name, value.replace("${REVERIE_KEY:?see compose.env.example}", &key))
        })
        .collect();
    assert!(settings.len() >= 8, "{settings:?}");
    assert!(settings.contains(&("REVERIE__AUTH__MODE", "keys".to_owned())), "strangers are let in");
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut command = common::process::ServerProcess::command(folder.path(), &settings);
    command.args(["--workers", "0", "--check-config"]);
    let output = command.stderr(std::process::Stdio::piped()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The image is built from what `.dockerignore` lets through: all that Cargo needs must be among it.
#[test]
fn the_builder_gets_every_crate() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let context = tempfile::tempdir().unwrap();
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    for part in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        std::fs::create_dir_all(context.path().join(part).parent().unwrap()).unwrap();
        let mut copy = std::process::Command::new("cp");
        assert!(
            copy.arg("-r").arg(root.join(part)).arg(context.path().join(part)).status().unwrap().success()
        );
    }
    let mut cargo = std::process::Command::new("cargo");
    let metadata = cargo.args(["metadata", "--offline", "--no-deps", "--format-version=1"]);
    let output = metadata.current_dir(context.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
