//! Compiling an upload in a process of its own, with limits on its CPU time and memory: a hostile component can make
//! a compiler slow or hungry, and that must not be the host's time and memory.
//!
//! Both sides are here: the host's ([`compile`]) and the child's ([`compile_main`]). It must not know where
//! artifacts are kept.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::Engine;

use super::engine;

/// The name of the hidden subcommand.
pub const COMPILE_COMMAND: &str = "compile-plugin";

/// Bytes of the child's stderr that are kept.
const STDERR: u64 = 4 << 10;

/// What the child exits with when the component does not compile, as against the child's own failure.
const REFUSED: u8 = 3;

/// What the child exits with when it found no memory and could still say so.
const NO_MEMORY: u8 = 4;

/// Bytes of an artifact.
const ARTIFACT: u64 = 1 << 30;

/// How the compiler is run.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    pub(super) program: PathBuf,
    pub(super) cpu: Duration,
    pub(super) memory_bytes: u64,
    pub(super) component_bytes_max: u64,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Limit `compile_cpu`.
    #[error("limit compile_cpu hit: compiling took more than {} s", .0.as_secs())]
    Time(Duration),
    /// Limit `compile_memory_bytes`.
    #[error("limit compile_memory_bytes hit: compiling took more than {0} bytes of memory")]
    Memory(u64),
    /// The compiler refuses the component.
    #[error("it does not compile: {0}")]
    Refused(String),
    /// The compiler itself failed.
    #[error("the compiler failed ({status}): {message}")]
    Failed {
        /// How its process ended.
        status: ExitStatus,
        /// The end of what it said.
        message: String,
    },
    /// The compiler could not be run.
    #[error("the compiler {program:?} could not be run: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How a child says that its memory is used up: when it allocates, when the system refuses, when it reads.
const OUT_OF_MEMORY: [&str; 3] = ["memory allocation of", "Cannot allocate memory", "out of memory"];

/// Compiles `component` into the new file `output`.
pub(super) async fn compile(
    compiler: &Compiler,
    component: &[u8],
    output: &Path,
) -> Result<(), CompileError> {
    let start = |source| CompileError::Start { program: compiler.program.clone(), source };
    let mut child = tokio::process::Command::new(&compiler.program)
        .arg(COMPILE_COMMAND)
        .arg(output)
        .arg(compiler.cpu.as_secs().max(1).to_string())
        .arg(compiler.memory_bytes.to_string())
        .arg(compiler.component_bytes_max.to_string())
        // Nothing of the host's environment is the compiler's business.
        .env_clear()
        // The allocator takes its address space by the gibibyte, and crashes where the limit refuses that. Taken as it
        // is needed, the limit means what it says, and running into it is told in words.
        .env("MIMALLOC_ARENA_RESERVE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A child that ends early says why by itself; the broken pipe adds nothing.
            let _ = stdin.write_all(component).await;
        }
    };
    let listen = async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            let mut kept = stderr.take(STDERR);
            // Cut short is as good as whole: it is for people.
            let _ = kept.read_to_end(&mut said).await;
            let _ = tokio::io::copy(&mut kept.into_inner(), &mut tokio::io::sink()).await;
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    };
    // A child that waits uses no CPU time, so the wall is limited as well.
    let wall = compiler.cpu.saturating_mul(2).saturating_add(Duration::from_secs(5));
    let whole = async { tokio::join!(child.wait(), feed, listen) };
    let Ok((status, (), message)) = tokio::time::timeout(wall, whole).await else {
        return Err(CompileError::Time(compiler.cpu));
    };
    let status = status.map_err(start)?;
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) if code == i32::from(REFUSED) => Err(CompileError::Refused(message)),
        (Some(code), _) if code == i32::from(NO_MEMORY) => Err(CompileError::Memory(compiler.memory_bytes)),
        (_, Some(SIGXCPU | SIGKILL)) => Err(CompileError::Time(compiler.cpu)),
        _ if OUT_OF_MEMORY.iter().any(|words| message.contains(words)) => {
            Err(CompileError::Memory(compiler.memory_bytes))
        }
        _ => Err(CompileError::Failed { status, message }),
    }
}

/// The child: reads a component from stdin and writes its artifact.
///
/// The arguments are those after the subcommand: the path of the new file, seconds of CPU time, bytes of memory, and
/// the largest component. Run by the host alone.
pub fn compile_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match child(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Child::Refused(why)) => {
            // Nobody reads stderr when the host is gone, and then nothing matters any more.
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::from(REFUSED)
        }
        Err(Child::NoMemory) => ExitCode::from(NO_MEMORY),
        Err(Child::Failed(why)) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

enum Child {
    Refused(String),
    NoMemory,
    Failed(String),
}

fn child(arguments: impl Iterator<Item = OsString>) -> Result<(), Child> {
    let failed = |what: &str, why: &dyn std::fmt::Display| Child::Failed(format!("{what}: {why}"));
    let arguments: Vec<OsString> = arguments.collect();
    let [output, cpu, memory, most] = arguments.as_slice() else {
        return Err(failed(COMPILE_COMMAND, &"it takes a path and three numbers; only the host runs it"));
    };
    let number = |text: &OsString| {
        text.to_str()
            .and_then(|text| text.parse::<u64>().ok())
            .ok_or_else(|| failed("arguments", &"a number"))
    };
    let (cpu, memory, most) = (number(cpu)?, number(memory)?, number(most)?);
    let limits = [
        // One second more before the kill, so that the end says that it was the time.
        (Resource::Cpu, cpu, cpu.saturating_add(1)),
        (Resource::As, memory, memory),
        (Resource::Fsize, ARTIFACT, ARTIFACT),
        (Resource::Core, 0, 0),
    ];
    for (resource, soft, hard) in limits {
        setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
            .map_err(|error| failed("setting the limits", &error))?;
    }
    let mut component = Vec::new();
    std::io::stdin().take(most.saturating_add(1)).read_to_end(&mut component).map_err(|error| match error
        .kind()
    {
        std::io::ErrorKind::OutOfMemory => Child::NoMemory,
        _ => failed("reading the component", &error),
    })?;
    if component.len() as u64 > most {
        return Err(failed("reading the component", &"it is too large"));
    }
    let engine = Engine::new(&engine::compile_config()).map_err(|error| failed("engine", &error))?;
    let artifact =
        engine.precompile_component(&component).map_err(|error| Child::Refused(format!("{error:#}")))?;
    let write = || {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(output)?;
        file.write_all(&artifact)?;
        file.sync_all()
    };
    write().map_err(|error| failed("writing the artifact", &error))
}
