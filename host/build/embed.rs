//! Writes the Rust sources that embed files: expressions for `include!`. It must not know what is made of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::wasm::Built;

/// What a new plugin crate gets in `vendor/`: the SDK with its macros, and the contract. Tests and the like stay out.
const VENDORED: &[&str] = &[
    "plugin-sdk/Cargo.toml",
    "plugin-sdk/README.md",
    "plugin-sdk/src",
    "plugin-sdk/macros/Cargo.toml",
    "plugin-sdk/macros/src",
    "wit/v1",
];

/// A slice of `Stock`, one for each plugin.
///
/// # Errors
/// When a plugin has no README or no examples.
pub(crate) fn stock(root: &Path, built: &[Built]) -> Result<String, String> {
    let mut text = String::from("&[\n");
    for plugin in built {
        let folder = root.join("plugins").join(&plugin.name);
        let readme = absolute(&folder.join("README.md"))?;
        let mut examples = files(&folder.join("examples"))?;
        examples.retain(|path| path.extension().is_some_and(|e| e == "json"));
        if examples.is_empty() {
            return Err(format!("{} has no examples", folder.display()));
        }
        put(&mut text, format_args!("    Stock {{\n        name: {:?},", plugin.name));
        put(&mut text, format_args!("        bytes: include_bytes!({:?}),", plugin.path));
        put(&mut text, format_args!("        readme: include_str!({readme:?}),\n        examples: &["));
        for path in examples {
            let name = path.file_name().unwrap_or_default();
            put(&mut text, format_args!("            ({name:?}, include_str!({:?})),", absolute(&path)?));
        }
        put(&mut text, format_args!("        ],\n    }},"));
    }
    text.push_str("]\n");
    Ok(text)
}

/// A slice of pairs: the path of a vendored file and its text.
///
/// # Errors
/// When a file is missing.
pub(crate) fn vendor(root: &Path) -> Result<String, String> {
    let mut text = String::from("&[\n");
    for entry in VENDORED {
        let path = root.join(entry);
        let list = if path.is_dir() { files(&path)? } else { vec![path] };
        for path in list {
            let relative = path.strip_prefix(root).map_err(|e| e.to_string())?.to_path_buf();
            put(&mut text, format_args!("    ({relative:?}, include_str!({:?})),", absolute(&path)?));
        }
    }
    text.push_str("]\n");
    Ok(text)
}

/// Every file below a folder, sorted by path.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let error = |e: std::io::Error| format!("cannot list {}: {e}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{line}");
}
