//! Where a component comes from: a crate that is built first, or a file that is there. And the limits that it asks for.
//!
//! It must not know what is done with the component.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use super::build;
use crate::carrier::LimitsSpec;

/// A plugin's folder or a component.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    /// The plugin's folder, which is built first, or a component.
    #[arg(value_name = "DIR|COMPONENT.wasm", default_value = ".")]
    path: PathBuf,
    /// Folder for what cargo compiles; cargo's own choice when it is not given.
    #[arg(long)]
    target_dir: Option<PathBuf>,
    /// Build without the network: everything must have been downloaded before.
    #[arg(long)]
    offline: bool,
}

/// A component in memory.
#[derive(Debug)]
pub(super) struct Component {
    /// What to call it, for people.
    pub(super) name: String,
    /// It.
    pub(super) bytes: Bytes,
}

impl Source {
    /// Builds or reads it.
    ///
    /// # Errors
    /// When there is nothing at the path, or the build fails.
    pub(super) fn component(&self) -> anyhow::Result<Component> {
        let path = &self.path;
        self.check()?;
        if path.is_file() {
            return read(path);
        }
        let args =
            build::Args { dir: path.clone(), target_dir: self.target_dir.clone(), offline: self.offline };
        read(&build::build(&args)?.path)
    }

    /// Looks whether there is something.
    ///
    /// # Errors
    /// When there is nothing at the path.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let path = self.path.display();
        ensure!(self.path.exists(), "there is no {path}: give a plugin's folder or a component");
        Ok(())
    }

    /// Where its examples are when nothing else is said: in its folder, or beside the component.
    pub(super) fn examples(&self) -> PathBuf {
        let folder = if self.path.is_file() { self.path.parent() } else { Some(self.path.as_path()) };
        folder.unwrap_or(Path::new("")).join("examples")
    }
}

fn read(path: &Path) -> anyhow::Result<Component> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Component { name, bytes: bytes.into() })
}

/// What a component imports, in lines for people. The many interfaces that every language's library brings along, and
/// that reach nothing, stand in one line.
pub(super) fn imports<T: AsRef<str>>(all: &[T]) -> Vec<String> {
    let (wasi, own): (Vec<&str>, Vec<&str>) =
        all.iter().map(AsRef::as_ref).partition(|import| import.starts_with("wasi:"));
    let mut lines: Vec<String> = own.iter().map(|import| format!("imports {import}")).collect();
    if !wasi.is_empty() {
        let packages: BTreeSet<&str> = wasi.iter().filter_map(|import| import.split('/').next()).collect();
        let packages: Vec<&str> = packages.into_iter().collect();
        lines.push(format!(
            "imports {} interfaces of {}, as standard libraries do; they reach nothing outside",
            wasi.len(),
            packages.join(", ")
        ));
    }
    lines
}

/// The limits of a version. Absent ones take the host's defaults.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct LimitArgs {
    /// Wall time of one call in milliseconds; 50 when it is not given.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    wall_ms: Option<u64>,
    /// Linear memory in bytes; 32 MiB when it is not given.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 16..=1 << 30))]
    memory_bytes: Option<u64>,
    /// Everything that one call may return, in bytes; 1 MiB when it is not given.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=64 << 20))]
    output_bytes: Option<u64>,
    /// Deliveries that one call may return; 64 when it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    deliveries: Option<u32>,
}

impl From<LimitArgs> for LimitsSpec {
    fn from(args: LimitArgs) -> Self {
        let LimitArgs { wall_ms, memory_bytes, output_bytes, deliveries } = args;
        Self { wall_ms, memory_bytes, output_bytes, deliveries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_bring_along_stands_in_one_line() {
        let all =
            ["hookyard:plugin/log@1.0.0", "wasi:io/poll@0.2.6", "wasi:cli/exit@0.2.6", "wasi:io/error@0.2.6"];
        let lines = imports(&all);
        assert_eq!(lines[0], "imports hookyard:plugin/log@1.0.0");
        assert!(
            lines.len() == 2 && lines[1].starts_with("imports 3 interfaces of wasi:cli, wasi:io,"),
            "{lines:?}"
        );
        assert!(imports::<&str>(&[]).is_empty());
    }

    #[test]
    fn examples_are_in_the_folder_or_beside_the_component() {
        let dir = tempfile::tempdir().unwrap();
        let of = |path: PathBuf| Source { path, target_dir: None, offline: true };
        assert_eq!(of(dir.path().to_owned()).examples(), dir.path().join("examples"));
        let file = dir.path().join("a.wasm");
        std::fs::write(&file, "").unwrap();
        assert_eq!(of(file).examples(), dir.path().join("examples"));
        let error = of(dir.path().join("none")).component().unwrap_err().to_string();
        assert!(error.ends_with("none: give a plugin's folder or a component"), "{error}");
    }
}
