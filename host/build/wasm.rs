//! Compiles crates of this workspace to WebAssembly components, for build scripts.
//!
//! Included by `#[path]` from the build scripts of `host` (the stock plugins) and `tests` (the guests). It must not
//! know which crates it builds, nor depend on anything but `std`.
//!
//! The components are built by a second cargo in a target folder of its own, since the outer cargo holds the lock of
//! its folder while a build script runs. That folder is `wasm/` next to the profiles' folders (`target/wasm`): it
//! outlives a change of the build script's own hash, and debug, release, plugins and guests share it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The target that plugins are built for.
const TARGET: &str = "wasm32-wasip2";

/// Linker and compiler flags of a plugin. A small stack keeps a fresh instance small. It lies below the data, so
/// that an overflow leaves the memory and traps instead of writing over the data.
const FLAGS: &[&str] = &["-Clink-arg=-zstack-size=65536", "-Clink-arg=--stack-first"];

/// A crate to compile.
#[derive(Debug)]
pub(crate) struct Source {
    /// What the result is called: `NAME.wasm`.
    pub(crate) name: String,
    /// Its package in the workspace; a `cdylib`.
    pub(crate) package: String,
}

/// A compiled component in the build script's `OUT_DIR`.
#[derive(Debug)]
pub(crate) struct Built {
    /// The source's name.
    pub(crate) name: String,
    /// Where the component lies.
    pub(crate) path: PathBuf,
}

/// Prints an error as it is, with its line breaks, and makes the build script fail.
pub(crate) fn report(result: Result<(), String>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// The folder that cargo gives to the build script.
///
/// # Errors
/// When cargo did not set `OUT_DIR`.
pub(crate) fn out_dir() -> Result<PathBuf, String> {
    Ok(std::env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?.into())
}

/// The folders in `dir` that hold a crate, sorted by name.
///
/// # Errors
/// When `dir` cannot be read.
pub(crate) fn folders(dir: &Path) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let entries = std::fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("cannot list {}: {e}", dir.display()))?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Tells cargo what the components are made of: these paths below `root`, the workspace's manifest and its lock.
pub(crate) fn rerun_if_changed(root: &Path, paths: &[&str]) {
    for path in paths.iter().chain(&["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"]) {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
}

/// Compiles `sources` with profile `plugin` and copies the components into `OUT_DIR`.
///
/// # Errors
/// When the target cannot be added, cargo fails or a package did not give the component that was expected.
pub(crate) fn build(root: &Path, sources: &[Source]) -> Result<Vec<Built>, String> {
    let out = out_dir()?;
    let target_dir = shared_target_dir(&out)?;
    ensure_target(root)?;

    let mut cargo = tool(root, "CARGO", "cargo");
    cargo
        .args(["build", "--locked", "--profile", "plugin", "--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    for source in sources {
        cargo.args(["--package", &source.package]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    run(cargo, "compiling WebAssembly components")?;

    let mut built = Vec::new();
    for source in sources {
        let file = format!("{}.wasm", source.package.replace('-', "_"));
        let from = target_dir.join(TARGET).join("plugin").join(file);
        let bytes = std::fs::read(&from).map_err(|e| {
            format!(
                "package {} left no component at {}: {e}; is it a cdylib?",
                source.package,
                from.display()
            )
        })?;
        let path = out.join(format!("{}.wasm", source.name));
        write_if_changed(&path, &bytes)?;
        built.push(Built { name: source.name.clone(), path });
    }
    Ok(built)
}

/// Writes a file unless it says so already, so that what includes it is not compiled again for nothing.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    std::fs::write(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// `wasm` in the outer cargo's target folder, which is the one above `OUT_DIR` that cargo marked as a cache; a folder in
/// `OUT_DIR` when there is none.
fn shared_target_dir(out: &Path) -> Result<PathBuf, String> {
    let target = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).unwrap_or(out);
    let dir = target.join("wasm");
    std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    Ok(dir)
}

/// Adds the target with rustup when the toolchain does not have it.
fn ensure_target(root: &Path) -> Result<(), String> {
    let mut rustc = tool(root, "RUSTC", "rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().map_err(|e| format!("cannot start rustc: {e}"))?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && libdir.is_dir() {
        return Ok(());
    }
    println!("cargo::warning=adding the target {TARGET} with rustup, since the toolchain does not have it");
    let mut rustup = tool(root, "RUSTUP", "rustup");
    rustup.args(["target", "add", TARGET]);
    run(rustup, "adding the target wasm32-wasip2 (`rustup target add wasm32-wasip2`)")
}

/// A tool of the toolchain that runs this script, without what the outer cargo and its wrappers (clippy, coverage,
/// caches) put into the environment: a plugin is built the same way whoever asks.
fn tool(root: &Path, variable: &str, name: &str) -> Command {
    let mut command = Command::new(std::env::var_os(variable).unwrap_or_else(|| OsString::from(name)));
    command.current_dir(root);
    for (key, _) in std::env::vars_os() {
        let key_text = key.to_string_lossy();
        let disturbs = key_text.starts_with("CARGO_BUILD_")
            || key_text.starts_with("CARGO_TARGET_")
            || key_text.starts_with("CARGO_PROFILE_")
            || key_text.starts_with("CARGO_FEATURE_")
            || key_text.starts_with("CARGO_CFG_")
            || key_text.starts_with("CARGO_LLVM_COV")
            || matches!(
                &*key_text,
                "RUSTFLAGS"
                    | "RUSTDOCFLAGS"
                    | "CARGO_ENCODED_RUSTFLAGS"
                    | "CARGO_INCREMENTAL"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "CLIPPY_ARGS"
                    | "CLIPPY_CONF_DIR"
                    | "LLVM_PROFILE_FILE"
                    | "TARGET"
                    | "HOST"
                    | "PROFILE"
                    | "OUT_DIR"
                    | "OPT_LEVEL"
                    | "DEBUG"
            );
        if disturbs {
            command.env_remove(&key);
        }
    }
    command
}

fn run(mut command: Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{what}: cannot start {command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what} failed ({}):\n{said}", output.status))
}
