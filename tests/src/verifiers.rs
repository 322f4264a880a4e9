//! Others' implementations of what the host speaks, in their own languages: the scripts of `tests/verifiers`, run with the
//! packages that `tests/run` has fetched.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::client::Api;
use crate::sink::{PATIENCE, Request};

/// The variable that holds the folder of the packages.
const VARIABLE: &str = "HOOKYARD_TEST_VERIFIERS";

/// A signed request, as the scripts take it, with the secret or public key that it is verified with.
pub fn signed(request: &Request, secret: &str) -> Value {
    json!({ "secret": secret, "headers": request.headers, "body": STANDARD.encode(&request.body) })
}

/// Whether each request is verified by the Python package.
///
/// # Panics
/// When the script fails.
pub async fn verified_in_python(requests: &[Value]) -> Vec<bool> {
    let verdicts = python("verify.py", &json!(requests)).await;
    serde_json::from_value(verdicts).expect("a list of verdicts")
}

/// Whether each request is verified by the npm package.
///
/// # Panics
/// When the script fails.
pub async fn verified_in_javascript(requests: &[Value]) -> Vec<bool> {
    let mut command = Command::new("node");
    command.arg(script("verify.mjs")).arg(folder());
    let verdicts = run(command, &json!(requests)).await;
    serde_json::from_value(verdicts).expect("a list of verdicts")
}

/// What a Python script makes of its input.
///
/// # Panics
/// When it fails.
pub async fn python(name: &str, input: &Value) -> Value {
    let mut command = Command::new(interpreter());
    command.arg(script(name));
    run(command, input).await
}

/// A token server in a process of its own; it ends when this is dropped.
pub struct TokenServer {
    /// Where it listens, without a path.
    pub url: String,
    _child: Child,
    _stdin: ChildStdin,
}

impl TokenServer {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        let mut command = Command::new(interpreter());
        command.arg(script("oauth_server.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("Python starts");
        let stdin = child.stdin.take().expect("its stdin");
        let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it comes up");
        let port: u16 = line.expect("a line").expect("a port").parse().expect("a port");
        Self { url: format!("http://127.0.0.1:{port}"), _child: child, _stdin: stdin }
    }

    /// What has happened there: the grants, and the bodies that were taken.
    pub async fn log(&self) -> Value {
        Api::new(&self.url, "none").get("/log").await.ok()
    }

    /// Forgets every token that was issued.
    pub async fn revoke(&self) {
        Api::new(&self.url, "none").post("/revoke", &json!({})).await.ok();
    }
}

async fn run(mut command: Command, input: &Value) -> Value {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the interpreter starts");
    let mut stdin = child.stdin.take().expect("its stdin");
    let input = input.to_string();
    let tell = async move {
        // It may have ended with an error that it tells below.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    let both = async { tokio::join!(tell, child.wait_with_output()).1 };
    let output = tokio::time::timeout(PATIENCE, both).await.expect("it ends").expect("its output");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("verifiers").join(name)
}

fn interpreter() -> PathBuf {
    folder().join("venv/bin/python")
}

fn folder() -> PathBuf {
    let folder = std::env::var_os(VARIABLE).unwrap_or_else(|| {
        panic!(
            "{VARIABLE} is not set: run the tests with `tests/run`, which fetches the packages that they verify with"
        )
    });
    PathBuf::from(folder)
}
