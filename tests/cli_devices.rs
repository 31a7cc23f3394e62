//! When CUDA's half of libtorch is loaded, and what becomes of one that cannot be used. Real libraries lie beside one that only
//! tells that it was loaded.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// Writes the file that an environment variable names when it is loaded.
const TELLS: &str = r#"
#include <cstdio>
#include <cstdlib>
__attribute__((constructor)) static void tell() {
    if (const char *name = std::getenv("CUDA_WAS_LOADED")) { std::fclose(std::fopen(name, "w")); }
}
"#;

/// A folder of libraries like that of a torch for CUDA.
struct Torch(TempDir);

impl Torch {
    /// libtorch as it is here, and `libtorch_cuda.so`, which `make` makes.
    fn with_cuda(make: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let libraries = option_env!("LIBTORCH").map_or(root.join(".libtorch"), PathBuf::from).join("lib");
        for entry in fs::read_dir(libraries).unwrap() {
            let (file, copy) = (entry.as_ref().unwrap().path(), entry.as_ref().unwrap().file_name());
            // That one is written here, and must not be a real one's other name.
            if copy.to_string_lossy().starts_with("libtorch_cuda") {
                continue;
            }
            if file.is_file()
                && fs::hard_link(fs::canonicalize(&file).unwrap(), folder.path().join(&copy)).is_err()
            {
                fs::copy(&file, folder.path().join(&copy)).unwrap();
            }
        }
        make(&folder.path().join("libtorch_cuda.so"));
        Self(folder)
    }

    fn mark(&self) -> PathBuf {
        self.0.path().join("loaded")
    }

    /// Renders a tiny dream on `device`.
    fn render(&self, device: &str) -> Output {
        let dream = self.0.path().join("dream.png");
        let small = ["--noise", "32x32", "--octaves", "1", "--iterations", "1", "--layer", "block2"];
        Command::new(env!("CARGO_BIN_EXE_reverie"))
            .args(["render", "-o"])
            .arg(dream)
            .args(small)
            .args(["--device", device])
            .env("LD_LIBRARY_PATH", self.0.path())
            .env("CUDA_WAS_LOADED", self.mark())
            .env("REVERIE__MODELS__DIR", Path::new(env!("CARGO_MANIFEST_DIR")).join("models"))
            .output()
            .unwrap()
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn cudas_half_is_loaded_when_a_gpu_may_be_used_and_not_for_a_cpu() {
    let torch = Torch::with_cuda(|library| {
        let source = library.with_extension("cpp");
        fs::write(&source, TELLS).unwrap();
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let compiled =
            Command::new(compiler).args(["-shared", "-fPIC", "-o"]).arg(library).arg(source).status();
        assert!(compiled.unwrap().success());
    });
    let output = torch.render("cpu");
    assert!(output.status.success(), "{}", told(&output));
    assert!(!torch.mark().exists(), "it takes time and memory");
    // It brings no GPU, so the CPU renders.
    let output = torch.render("auto");
    assert!(output.status.success(), "{}", told(&output));
    assert!(torch.mark().exists());
    let output = torch.render("cuda:0");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("there is no device \"cuda:0\"; available are auto, cpu"),
        "{}",
        told(&output)
    );
}

#[test]
fn a_half_that_cannot_be_loaded_is_told_and_leaves_the_cpu() {
    let torch = Torch::with_cuda(|library| fs::write(library, "half of a download").unwrap());
    let output = torch.render("auto");
    assert!(output.status.success(), "{}", told(&output));
    let output = torch.render("cuda:0");
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output);
    assert!(told.contains("there is no device \"cuda:0\"; available are auto, cpu"), "{told}");
    assert!(told.contains("CUDA support cannot be loaded: ") && told.contains("libtorch_cuda.so"), "{told}");
}
