//! Lets the tests find libtorch, and compiles the few lines of C++ that the renderer has.

#[path = "../../build.rs"]
mod run_paths;

fn main() {
    run_paths::main();
    // The second is for the tests alone: what nothing calls, the linker leaves out.
    for (name, source) in
        [("guarded", "src/cuda/guarded.cpp"), ("kernels_on_host", "src/cuda/kernels/host.cpp")]
    {
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .warnings(true)
            .extra_warnings(true)
            .flag_if_supported("-Wno-unused-function")
            .file(source)
            .compile(name);
    }
    println!("cargo::rerun-if-changed=src/cuda");
}
