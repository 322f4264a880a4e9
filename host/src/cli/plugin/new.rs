//! `hookyard plugin new`: a crate that builds and passes its tests as it is, with the SDK inside, so that nothing but
//! the crate registry is needed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::vendor;
use crate::event::PluginName;

/// Arguments of `hookyard plugin new`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder to make. Its last part is the plugin's name: lower-case letters, digits and `-`, a letter first.
    pub path: PathBuf,
}

/// The crate's own files: where they go and what they hold.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.template")),
    (".cargo/config.toml", include_str!("template/config.toml.template")),
    (".gitignore", include_str!("template/gitignore.template")),
    ("README.md", include_str!("template/README.md.template")),
    ("src/lib.rs", include_str!("template/lib.rs.template")),
    ("examples/kept.json", include_str!("template/kept.json.template")),
    ("examples/dropped.json", include_str!("template/dropped.json.template")),
];

/// Names that a crate cannot have beside the SDK, or that Rust keeps for itself.
const TAKEN: [&str; 8] = ["hookyard", "hookyard-sdk", "serde", "std", "core", "alloc", "test", "proc-macro"];

/// Makes the crate and says what to do next.
///
/// # Errors
/// When the name cannot be a plugin's, something is in the way, or a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let name = create(&args.path)?;
    let folder = args.path.display();
    println!("made the plugin `{name}` in {folder}");
    println!(
        "  cargo test --manifest-path {folder}/Cargo.toml   runs the function and the examples natively"
    );
    println!("  hookyard plugin build {folder}                   makes the component");
    println!("  hookyard plugin test {folder}                    runs the component over the examples");
    println!("  hookyard plugin push {name} {folder} --activate   uploads it to a host and makes it run");
    Ok(())
}

/// Makes the crate; gives the plugin's name.
///
/// # Errors
/// As [`run`].
pub fn create(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name)?;
    if path.exists() && std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_some()) {
        bail!("{} is there already and is not an empty folder", path.display());
    }
    for (file, text) in FILES {
        write(&path.join(file), &text.replace("{{name}}", name))?;
    }
    write(&path.join("Cargo.lock"), &vendor::lock()?)?;
    for (file, text) in vendor::files()? {
        write(&path.join("vendor").join(file), &text)?;
    }
    Ok(name.to_owned())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    name.parse::<PluginName>()?;
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        bail!("{name:?} cannot be a crate's name: it must start with a letter");
    }
    if TAKEN.contains(&name) {
        bail!("{name:?} cannot be a plugin's name: a crate of that name is needed by it");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_and_folders_in_use_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["Bad", "9lives", "serde", "a b", "-x"] {
            assert!(create(&dir.path().join(bad)).is_err(), "{bad}");
            assert!(!dir.path().join(bad).exists(), "{bad}");
        }
        let taken = dir.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("notes"), "mine").unwrap();
        let error = create(&taken).unwrap_err().to_string();
        assert!(error.ends_with("taken is there already and is not an empty folder"), "{error}");
        assert_eq!(std::fs::read_dir(&taken).unwrap().count(), 1);
    }
}
