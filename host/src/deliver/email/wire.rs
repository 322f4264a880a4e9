//! The bytes of a conversation with a mail server (RFC 5321): lines out, answers in, TLS under them, each wait bounded.
//!
//! It must not know what is asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::{SmtpError, Step};
use super::transcript::Transcript;

/// The longest line of an answer, in bytes: four times what RFC 5321 (4.5.3.1.5) allows.
const MAX_ANSWER_LINE: usize = 2_048;
/// The longest answer, in lines.
const MAX_ANSWER_LINES: usize = 128;
/// How much of a message is written before the next wait, in bytes.
const PIECE: usize = 64 * 1024;

/// One attempt's side of a conversation: how patient it is, and what was said.
#[derive(Debug)]
pub(super) struct Talk {
    /// How long each step may take: connecting, TLS, each answer, each piece of a message.
    pub(super) patience: Duration,
    pub(super) transcript: Transcript,
    /// What is waited for.
    pub(super) awaited: Step,
    /// Whether any byte of the message may have reached the server.
    pub(super) begun: bool,
}

impl Talk {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, transcript: Transcript::default(), awaited: Step::Turn, begun: false }
    }

    /// Waits for a step no longer than the patience.
    pub(super) async fn wait<T>(
        &mut self,
        step: Step,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, SmtpError> {
        self.awaited = step;
        match tokio::time::timeout(self.patience, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(cause)) => Err(SmtpError::Io { step, cause }),
            Err(_) => Err(SmtpError::Timeout { step, waited: self.patience }),
        }
    }
}

/// An answer: its code and its lines, without codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) lines: Vec<String>,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        self.lines.iter().take(8).try_for_each(|line| {
            let plain = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200);
            write!(f, " {}", plain.collect::<String>())
        })
    }
}

/// A connection, plain or under TLS.
pub(super) struct Wire {
    stream: Stream,
    /// What has come and was not read yet.
    read: BytesMut,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS did not come about.
    Gone,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("is_private", &self.is_private()).finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: Stream::Plain(stream), read: BytesMut::with_capacity(1_024) }
    }

    /// Whether it is under TLS.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The host's own side of it.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Plain(tcp) => tcp.local_addr().ok(),
            Stream::Tls(tls) => tls.get_ref().0.local_addr().ok(),
            Stream::Gone => None,
        }
    }

    /// Goes on under TLS. What the server said before it and was not asked for ends the conversation: it could be
    /// anybody's, and would count as an answer under TLS.
    pub(super) async fn secure(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
        talk: &mut Talk,
    ) -> Result<(), SmtpError> {
        if !self.read.is_empty() {
            return Err(SmtpError::OutOfTurn);
        }
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(SmtpError::Closed { step: Step::Tls });
        };
        let tls = talk.wait(Step::Tls, TlsConnector::from(config).connect(name, tcp)).await?;
        let version = tls.get_ref().1.protocol_version().map_or("", |v| v.as_str().unwrap_or_default());
        talk.transcript.note(&format!("under TLS {version}"));
        self.stream = Stream::Tls(Box::new(tls));
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.read.reserve(1_024);
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.read_buf(&mut self.read).await,
            Stream::Tls(tls) => tls.read_buf(&mut self.read).await,
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether the server has said nothing unasked, nor hung up. Waits for nothing.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.read.is_empty() && self.fill().now_or_never().is_none()
    }

    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes).await,
            Stream::Tls(tls) => {
                tls.write_all(bytes).await?;
                tls.flush().await
            }
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes lines, each with its end.
    pub(super) async fn write(&mut self, bytes: &[u8], step: Step, talk: &mut Talk) -> Result<(), SmtpError> {
        // An answer to nothing would be taken for the answer to this.
        if !self.read.is_empty() {
            return Err(SmtpError::OutOfTurn);
        }
        talk.wait(step, self.put(bytes)).await
    }

    /// Writes a message, piece by piece: each as patiently as a step.
    pub(super) async fn write_message(&mut self, bytes: &[u8], talk: &mut Talk) -> Result<(), SmtpError> {
        for piece in bytes.chunks(PIECE) {
            talk.wait(Step::Message, self.put(piece)).await?;
        }
        Ok(())
    }

    /// Reads one answer in full.
    pub(super) async fn answer(&mut self, step: Step, talk: &mut Talk) -> Result<Answer, SmtpError> {
        talk.awaited = step;
        match tokio::time::timeout(talk.patience, self.whole_answer(step, &mut talk.transcript)).await {
            Ok(answer) => answer,
            Err(_) => Err(SmtpError::Timeout { step, waited: talk.patience }),
        }
    }

    async fn whole_answer(&mut self, step: Step, transcript: &mut Transcript) -> Result<Answer, SmtpError> {
        let mut answer = Answer { code: 0, lines: Vec::new() };
        loop {
            let line = self.line(step).await?;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            transcript.heard(line);
            let (code, more, text) = parse(line).ok_or(SmtpError::NotSmtp { step })?;
            if !answer.lines.is_empty() && code != answer.code {
                return Err(SmtpError::NotSmtp { step });
            }
            answer.code = code;
            answer.lines.push(text.to_owned());
            if !more {
                return Ok(answer);
            }
            if answer.lines.len() >= MAX_ANSWER_LINES {
                let (limit, most) = ("MAX_ANSWER_LINES", MAX_ANSWER_LINES);
                return Err(SmtpError::TooMuch { step, limit, most });
            }
        }
    }

    async fn line(&mut self, step: Step) -> Result<BytesMut, SmtpError> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.read[seen..].iter().position(|b| *b == b'\n') {
                return Ok(self.read.split_to(seen + at + 1));
            }
            seen = self.read.len();
            if seen > MAX_ANSWER_LINE {
                let (limit, most) = ("MAX_ANSWER_LINE", MAX_ANSWER_LINE);
                return Err(SmtpError::TooMuch { step, limit, most });
            }
            let more = self.fill().await.map_err(|cause| SmtpError::Io { step, cause })?;
            if more == 0 {
                return Err(SmtpError::Closed { step });
            }
        }
    }

    /// Takes leave, if the server is still there to hear it.
    pub(super) async fn quit(mut self, patience: Duration) {
        let farewell = async {
            self.put(b"QUIT\r\n").await?;
            match &mut self.stream {
                Stream::Plain(tcp) => tcp.shutdown().await,
                Stream::Tls(tls) => tls.shutdown().await,
                Stream::Gone => Ok(()),
            }
        };
        // Whatever comes of it, the connection is gone.
        let _ = tokio::time::timeout(patience, farewell).await;
    }
}

/// A line's code, whether another follows, and its text.
fn parse(line: &str) -> Option<(u16, bool, &str)> {
    let code = line.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()))?;
    let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
    match line.as_bytes().get(3) {
        None => Some((code, false, "")),
        Some(b' ') => Some((code, false, &line[4..])),
        Some(b'-') => Some((code, true, &line[4..])),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_code_and_a_text() {
        assert_eq!(parse("250 ok"), Some((250, false, "ok")));
        assert_eq!(parse("250-SIZE 1"), Some((250, true, "SIZE 1")));
        assert_eq!(parse("354"), Some((354, false, "")));
        for wrong in ["", "25", "2x0 ok", "250ok", "199 a", "600 a", "éé 1", "HTTP/1.1 400"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
