//! `hookyard plugin build`: a crate to a component, with the settings that make it small and fast. It must not know how
//! components are loaded.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use wasmparser::{Parser, Payload};

/// Arguments of `hookyard plugin build`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Folder for what cargo compiles; cargo's own choice when it is not given.
    #[arg(long)]
    pub target_dir: Option<PathBuf>,
    /// Do without the network: everything must have been downloaded before.
    #[arg(long)]
    pub offline: bool,
}

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// The interfaces that it imports, as they are named in it.
    pub imports: Vec<String>,
}

/// The target of plugins.
const TARGET: &str = "wasm32-wasip2";

/// What a plugin must export.
const HANDLER: &str = "hookyard:plugin/handler@1.";

/// A component above this is worth a word: it starts slowly.
const LARGE: u64 = 1 << 20;

/// Cargo settings of every plugin, whatever its own manifest says.
const SETTINGS: &[&str] = &[
    "profile.release.opt-level='s'",
    "profile.release.lto='fat'",
    "profile.release.codegen-units=1",
    "profile.release.panic='abort'",
    "profile.release.debug=false",
    "profile.release.strip=true",
];

/// A small stack below the data, unless the crate's own cargo configuration sets one: cargo would join the two lists,
/// and everything would be compiled again whenever plain cargo and this command take turns.
const STACK: &str =
    "target.wasm32-wasip2.rustflags=['-Clink-arg=-zstack-size=65536', '-Clink-arg=--stack-first']";

/// Builds the plugin and prints what came out.
///
/// # Errors
/// As [`build`].
pub fn run(args: &Args) -> anyhow::Result<()> {
    let component = build(args)?;
    println!("{}: {} bytes", component.path.display(), component.size);
    for line in super::source::imports(&component.imports) {
        println!("  {line}");
    }
    if component.size > LARGE {
        eprintln!(
            "warning: it is larger than {LARGE} bytes and will start slowly; is a large dependency or data inside?"
        );
    }
    Ok(())
}

/// Builds the plugin in `args.dir`. Cargo's own messages go to stderr.
///
/// # Errors
/// When the target cannot be added, cargo fails, or what comes out is no Hookyard plugin.
pub fn build(args: &Args) -> anyhow::Result<Component> {
    let manifest = args.dir.join("Cargo.toml");
    ensure!(manifest.is_file(), "there is no {}: is this a plugin's folder?", manifest.display());
    ensure_target(&args.dir)?;

    let mut cargo = tool("cargo", &args.dir);
    // The manifest may name an `rlib` too, beside which cargo leaves out the link-time optimisation.
    cargo.args(["rustc", "--lib", "--crate-type", "cdylib", "--release", "--target", TARGET]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    for setting in SETTINGS {
        cargo.args(["--config", setting]);
    }
    let own = std::fs::read_to_string(args.dir.join(".cargo/config.toml")).unwrap_or_default();
    if !own.contains("stack-size=") {
        cargo.args(["--config", STACK]);
    }
    if let Some(dir) = &args.target_dir {
        cargo.arg("--target-dir").arg(std::path::absolute(dir)?);
    }
    if args.offline {
        cargo.arg("--offline");
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo could not build the plugin ({})", output.status);

    let manifest = manifest.canonicalize()?;
    let path = artifact(&output.stdout, &manifest).context("cargo did not say where the component lies")?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (imports, exports) = interfaces(&bytes).context("what cargo built is no component")?;
    if !exports.iter().any(|name| name.starts_with(HANDLER)) {
        bail!(
            "{} does not export the handler: put #[hookyard::plugin] before the plugin's function",
            path.display()
        );
    }
    Ok(Component { size: bytes.len() as u64, path, imports })
}

/// Adds the target when the toolchain that the plugin's folder chooses does not have it.
fn ensure_target(dir: &Path) -> anyhow::Result<()> {
    let mut rustc = tool("rustc", dir);
    let output = rustc
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .context("cannot start rustc")?;
    if output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir() {
        return Ok(());
    }
    eprintln!("adding the target {TARGET} with rustup");
    let status = tool("rustup", dir).args(["target", "add", TARGET]).status();
    let status = status.with_context(|| format!("the target {TARGET} is missing, and so is rustup"))?;
    ensure!(status.success(), "`rustup target add {TARGET}` failed ({status})");
    Ok(())
}

/// A tool, without flags in the environment that would replace the ones of a plugin.
fn tool(name: &str, dir: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(dir);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"]
    {
        command.env_remove(variable);
    }
    command
}

/// The component among cargo's messages: a line of JSON for each artifact.
fn artifact(messages: &[u8], manifest: &Path) -> Option<PathBuf> {
    let mut found = None;
    for line in messages.split(|b| *b == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        if message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
        {
            let files = message["filenames"].as_array().into_iter().flatten().filter_map(|f| f.as_str());
            found = files.map(PathBuf::from).find(|f| f.extension().is_some_and(|e| e == "wasm")).or(found);
        }
    }
    found
}

/// The names of what a component imports and exports.
fn interfaces(bytes: &[u8]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    ensure!(Parser::is_component(bytes), "it is a core module");
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plugin::new;

    /// A folder that outlives the test, so that the dependencies are compiled once.
    fn target_dir() -> PathBuf {
        let exe = std::env::current_exe().unwrap();
        let deps = exe.parent().and_then(Path::parent).and_then(Path::parent).unwrap();
        deps.join("author")
    }

    #[test]
    fn a_new_plugin_passes_its_tests_and_builds_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("brand-filter");
        new::create(&path).unwrap();

        let args = Args { dir: path.clone(), target_dir: Some(target_dir()), offline: true };
        let component = build(&args).unwrap();
        assert!(component.path.ends_with("brand_filter.wasm"), "{}", component.path.display());
        assert!(component.size < 150_000, "{} bytes", component.size);
        let has = |name: &str| component.imports.iter().any(|i| i.starts_with(name));
        assert!(has("hookyard:plugin/settings@") && has("hookyard:plugin/log@"), "{:?}", component.imports);
        assert!(
            !has("hookyard:plugin/tables@"),
            "what is not called is not imported: {:?}",
            component.imports
        );

        let tests = tool("cargo", &path)
            .args(["test", "--offline", "--target-dir"])
            .arg(target_dir())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tests.stdout);
        assert!(tests.status.success(), "{said}{}", String::from_utf8_lossy(&tests.stderr));
        assert!(said.contains("test result: ok. 2 passed"), "{said}");
    }

    #[test]
    fn what_is_no_plugin_is_named_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { dir: dir.path().to_owned(), target_dir: None, offline: true };
        let error = build(&args).unwrap_err().to_string();
        assert!(error.ends_with("Cargo.toml: is this a plugin's folder?"), "{error}");
        assert!(interfaces(b"\0asm\x01\0\0\0").unwrap_err().to_string().contains("core module"));
    }
}
