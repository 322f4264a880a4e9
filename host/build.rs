//! Compiles the stock plugins from source and lists what is embedded: the plugins, and the SDK that
//! `hookyard plugin new` puts into a new crate.

#[path = "build/embed.rs"]
mod embed;
#[path = "build/wasm.rs"]
mod wasm;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    wasm::report(write())
}

fn write() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    wasm::rerun_if_changed(&root, &["plugins", "plugin-sdk", "wit", "host/build"]);

    let mut sources = Vec::new();
    for name in wasm::folders(&root.join("plugins"))? {
        sources.push(wasm::Source { package: format!("hookyard-plugin-{name}"), name });
    }
    let built = wasm::build(&root, &sources)?;
    let out = wasm::out_dir()?;
    wasm::write_if_changed(&out.join("stock.rs"), embed::stock(&root, &built)?.as_bytes())?;
    wasm::write_if_changed(&out.join("vendor.rs"), embed::vendor(&root)?.as_bytes())
}
