//! Lets the tests find libtorch, and compiles the few lines of C++ that the renderer has.

#[path = "../../build.rs"]
mod run_paths;

fn main() {
    run_paths::main();
    let source = "src/cuda/guarded.cpp";
    println!("cargo::rerun-if-changed={source}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(true)
        .extra_warnings(true)
        .file(source)
        .compile("guarded");
}
