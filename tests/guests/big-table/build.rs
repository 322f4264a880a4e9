//! Makes the linker leave ten million entries of the table free before the first function.

fn main() {
    if std::env::var_os("CARGO_CFG_TARGET_FAMILY").is_some_and(|family| family == "wasm") {
        println!("cargo:rustc-link-arg=--table-base=10000000");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
