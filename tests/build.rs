//! Compiles every guest in `guests/` and writes `guests.rs`: a constant of bytes for each.

#[path = "../host/build/wasm.rs"]
mod wasm;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    wasm::report(guests())
}

fn guests() -> Result<(), String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut guests = Vec::new();
    for folder in wasm::folders(&here.join("guests"))? {
        guests.push(wasm::Source { package: format!("guest-{folder}"), name: folder });
    }
    wasm::rerun_if_changed(&here.join(".."), &["tests/guests", "plugin-sdk", "wit", "host/build"]);
    let built = wasm::build(&here.join(".."), &guests)?;

    let mut text = String::new();
    for module in &built {
        let name = module.name.to_uppercase().replace('-', "_");
        let path = module.path.display();
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "/// The guest `{}`, as a component.", module.name);
        let _ =
            writeln!(text, "pub const {name}: &[u8] = include_bytes!({path:?});", path = path.to_string());
    }
    wasm::write_if_changed(&wasm::out_dir()?.join("guests.rs"), text.as_bytes())
}
