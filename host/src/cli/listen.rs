//! `hookyard listen`: a receiver on this machine that prints what it gets, by HTTP and, if asked to, by SMTP and SFTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use tokio::net::TcpListener;

use super::mailbox::{self, Mail};
use super::sftp_site::{Came, SftpSite};

/// Receive webhooks, mails and files on this machine and print them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    address: SocketAddr,
    /// Verify signatures with this `whsec_…` secret; a request that does not verify is answered with 401.
    #[arg(long)]
    secret: Option<String>,
    /// Answer with this status instead of 200, to see retries.
    #[arg(long, default_value = "200")]
    status: u16,
    /// Take mails as well: where to listen, such as 127.0.0.1:2525. Without TLS; any login will do.
    #[arg(long, value_name = "ADDRESS")]
    smtp: Option<SocketAddr>,
    /// Take files by SFTP as well: where to listen, such as 127.0.0.1:2222. Any login will do.
    #[arg(long, value_name = "ADDRESS")]
    sftp: Option<SocketAddr>,
    /// The folder that files are put into. A temporary one when absent, removed at the end.
    #[arg(long, requires = "sftp")]
    folder: Option<PathBuf>,
}

/// How many lines of a mail are shown.
const MAIL_LINES: usize = 80;

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(args.address)
        .await
        .with_context(|| format!("cannot listen on {}", args.address))?;
    eprintln!("listening on http://{} (Ctrl-C ends it)", listener.local_addr()?);
    let status = StatusCode::from_u16(args.status).context("--status takes 100 to 599")?;
    let state = Arc::new((args.secret, status));
    let app = axum::Router::new().fallback(show).with_state(state);
    if let Some(address) = args.smtp {
        let take = |mail: Mail| {
            print!("{}", of_mail(&mail));
            Ok(())
        };
        let address = mailbox::start(address, Arc::new(take)).await?;
        eprintln!("listening on smtp://{address}, without TLS; any login will do");
    }
    let temporary = tempfile::Builder::new().prefix("hookyard-listen-").tempdir()?;
    if let Some(address) = args.sftp {
        let folder = args.folder.as_deref().unwrap_or(temporary.path());
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let told = |came: &Came| println!("{}\n", of_file(came));
        let site = SftpSite::start(address, folder, None, Arc::new(told)).await?;
        eprintln!(
            "listening on sftp://{}, any login will do; files go to {}",
            site.address,
            folder.display()
        );
        eprintln!("  its host key, new with every start: {}", site.host_key);
    }
    let mut signals = crate::lifecycle::StopSignals::listen()?;
    tokio::select! {
        done = axum::serve(listener, app) => done?,
        () = signals.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(
    State(state): State<Arc<(Option<String>, StatusCode)>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    println!("{method} {uri}");
    for (name, value) in &headers {
        println!("  {name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    println!("  {}", String::from_utf8_lossy(&body));
    if let Some(secret) = &state.0 {
        if let Err(why) = super::receiver::verify(secret, &headers, &body) {
            println!("  signature: REFUSED: {why}\n");
            return StatusCode::UNAUTHORIZED;
        }
        println!("  signature: verified");
    }
    println!();
    state.1
}

/// A mail for people: its envelope and the beginning of its text.
fn of_mail(mail: &Mail) -> String {
    let text = String::from_utf8_lossy(&mail.message);
    let mut shown = format!("MAIL from <{}> to <{}>\n", mail.from, mail.to.join(">, <"));
    for line in text.lines().take(MAIL_LINES) {
        shown.extend(["  ", line, "\n"]);
    }
    let left = text.lines().skip(MAIL_LINES).count();
    if left > 0 {
        shown.push_str(&format!("  … and {left} lines more; {} bytes in all\n", mail.message.len()));
    }
    shown.push('\n');
    shown
}

fn of_file(came: &Came) -> String {
    let Came { path, renamed_from, bytes } = came;
    match renamed_from {
        Some(before) => format!("FILE {before} is now {path}, {bytes} bytes"),
        None => format!("FILE {path} was written, {bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_mail_is_cut() {
        let mail = |lines: usize| Mail {
            from: "a@x.example".to_owned(),
            to: vec!["b@y.example".to_owned(), "c@y.example".to_owned()],
            message: Bytes::from("line\r\n".repeat(lines)),
        };
        let short = of_mail(&mail(2));
        assert_eq!(short, "MAIL from <a@x.example> to <b@y.example>, <c@y.example>\n  line\n  line\n\n");
        let long = of_mail(&mail(100));
        assert_eq!(long.matches("line\n").count(), 80);
        assert!(long.contains("… and 20 lines more; 600 bytes in all"), "{long}");
    }
}
