//! A mail server for `listen` and `demo`: it takes what is handed in and sends nothing on.
//!
//! It speaks the part of SMTP (RFC 5321) that a client needs to hand in a mail: without TLS, and any login will do. It must
//! not know the host: it sees what any mail server sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The longest command line, in bytes (RFC 5321, 4.5.3.1.4 asks for 512; logins are longer).
const COMMAND_BYTES: u64 = 4 << 10;
/// The longest line of a message, in bytes. Ones of more than 998 are against the rules and sent all the same.
const LINE_BYTES: u64 = 1 << 20;
/// The largest mail, in bytes; told as `SIZE` (RFC 1870).
const MAIL_BYTES: usize = 64 << 20;
/// Recipients of one mail (RFC 5321, 4.5.3.1.8).
const RECIPIENTS: usize = 100;
/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// How long a client may say nothing (RFC 5321, 4.5.3.2.7).
const SILENCE: Duration = Duration::from_secs(300);

/// A mail as it was handed in.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    /// The sender of the envelope; empty for a bounce.
    pub(super) from: String,
    /// The recipients of the envelope.
    pub(super) to: Vec<String>,
    /// The message as it came, dots unstuffed.
    pub(super) message: Bytes,
}

/// Decides about a mail: nothing said, it is taken; otherwise the answer, which begins with a code, such as
/// `450 4.7.1 come again`.
pub(super) type Take = dyn Fn(Mail) -> Result<(), &'static str> + Send + Sync;

/// Listens on `address` until the process ends; gives where.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) async fn start(address: SocketAddr, take: Arc<Take>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::spawn(async move {
        while let Ok(place) = places.clone().acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let take = take.clone();
            tokio::spawn(async move {
                let _place = place;
                // A connection that breaks is the client's to repair: what was not acknowledged is sent again.
                let _ = converse(stream, take.as_ref()).await;
            });
        }
    });
    Ok(address)
}

/// One connection, from the greeting to its end.
async fn converse(mut stream: TcpStream, take: &Take) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.split();
    let mut read = BufReader::with_capacity(64 << 10, read);
    let mut talk = Talk::default();
    write.write_all(b"220 localhost ESMTP\r\n").await?;
    while let Some(line) = line(&mut read, COMMAND_BYTES).await? {
        let answer = match talk.hear(&String::from_utf8_lossy(&line)) {
            Reply::Say(answer) => answer,
            Reply::Message => {
                write.write_all(b"354 end with a line that is a dot\r\n").await?;
                let Some(message) = message(&mut read).await? else { return Ok(()) };
                talk.end(message, take)
            }
            Reply::Bye => {
                write.write_all(b"221 2.0.0 bye\r\n").await?;
                return write.shutdown().await;
            }
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// A line with its end; nothing at the end of the stream.
async fn line(read: &mut (impl AsyncBufRead + Unpin), most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut bounded = read.take(most);
    let read = tokio::time::timeout(SILENCE, bounded.read_until(b'\n', &mut line)).await;
    if read.map_err(|_| std::io::ErrorKind::TimedOut)?? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") { Ok(Some(line)) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// The message after DATA (RFC 5321, 4.5.2): `Some(None)` when it was larger than [`MAIL_BYTES`], nothing when the client
/// hung up in the middle.
async fn message(read: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Option<Bytes>>> {
    let (mut message, mut too_large) = (Vec::new(), false);
    while let Some(line) = line(read, LINE_BYTES).await? {
        if line == b".\r\n" || line == b".\n" {
            return Ok(Some((!too_large).then(|| message.into())));
        }
        let text = line.strip_prefix(b".").unwrap_or(&line);
        too_large = too_large || message.len() + text.len() > MAIL_BYTES;
        if !too_large {
            message.extend_from_slice(text);
        }
    }
    Ok(None)
}

/// Where a conversation stands.
#[derive(Debug, Default)]
struct Talk {
    from: Option<String>,
    to: Vec<String>,
    /// How many more lines of a login are to come, which are no commands.
    login: u8,
}

/// What follows a line of the client.
enum Reply {
    Say(String),
    Message,
    Bye,
}

impl Talk {
    fn hear(&mut self, line: &str) -> Reply {
        let line = line.trim_end();
        if self.login > 0 {
            self.login -= 1;
            return Reply::Say(self.login_goes_on());
        }
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((line, ""));
        let say = |text: &str| Reply::Say(text.to_owned());
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                *self = Self::default();
                Reply::Say(format!(
                    "250-localhost\r\n250-PIPELINING\r\n250-SIZE {MAIL_BYTES}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                     250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN LOGIN"
                ))
            }
            "HELO" => {
                *self = Self::default();
                say("250 localhost")
            }
            "AUTH" => Reply::Say(self.login(rest)),
            "MAIL" => match path(rest) {
                Some(from) => {
                    (self.from, self.to) = (Some(from), Vec::new());
                    say("250 2.1.0 sender taken")
                }
                None => say("501 5.5.4 it takes MAIL FROM:<address>"),
            },
            "RCPT" => match path(rest) {
                _ if self.from.is_none() => say("503 5.5.1 MAIL comes first"),
                Some(to) if !to.is_empty() && self.to.len() < RECIPIENTS => {
                    self.to.push(to);
                    say("250 2.1.5 recipient taken")
                }
                Some(to) if !to.is_empty() => say("452 4.5.3 too many recipients"),
                _ => say("501 5.5.4 it takes RCPT TO:<address>"),
            },
            "DATA" if self.to.is_empty() => say("503 5.5.1 RCPT comes first"),
            "DATA" => Reply::Message,
            "RSET" => {
                (self.from, self.to) = (None, Vec::new());
                say("250 2.0.0 forgotten")
            }
            "NOOP" => say("250 2.0.0 here"),
            "VRFY" => say("252 2.1.5 send it and see"),
            "QUIT" => Reply::Bye,
            _ => say("502 5.5.2 there is no such command"),
        }
    }

    /// Any login will do (RFC 4954), so only its lines are counted.
    fn login(&mut self, rest: &str) -> String {
        let mut words = rest.split_ascii_whitespace();
        let mechanism = words.next().unwrap_or("").to_ascii_uppercase();
        self.login = match (mechanism.as_str(), words.next()) {
            ("PLAIN", Some(_)) => return "235 2.7.0 any login will do".to_owned(),
            ("PLAIN", None) | ("LOGIN", Some(_)) => 1,
            ("LOGIN", None) => 2,
            _ => return "504 5.5.4 it takes PLAIN or LOGIN".to_owned(),
        };
        "334 ".to_owned()
    }

    fn login_goes_on(&self) -> String {
        (if self.login > 0 { "334 " } else { "235 2.7.0 any login will do" }).to_owned()
    }

    fn end(&mut self, message: Option<Bytes>, take: &Take) -> String {
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        let Some(message) = message else {
            return format!("552 5.3.4 larger than the limit `SIZE`, {MAIL_BYTES} bytes");
        };
        match take(Mail { from, to, message }) {
            Ok(()) => "250 2.0.0 taken".to_owned(),
            Err(answer) => answer.to_owned(),
        }
    }
}

/// The address in `FROM:<address> SIZE=…`.
fn path(rest: &str) -> Option<String> {
    let (_, rest) = rest.split_once('<')?;
    rest.split_once('>').map(|(address, _)| address.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn mailbox(answers: &'static [&'static str]) -> (SocketAddr, Arc<Mutex<Vec<Mail>>>) {
        let mails = Arc::new(Mutex::new(Vec::new()));
        let (kept, left) = (mails.clone(), Mutex::new(answers.iter()));
        let take: Arc<Take> = Arc::new(move |mail| match left.lock().unwrap().next() {
            Some(answer) => Err(answer),
            None => {
                kept.lock().unwrap().push(mail);
                Ok(())
            }
        });
        (start(([127, 0, 0, 1], 0).into(), take).await.unwrap(), mails)
    }

    #[tokio::test]
    async fn a_mail_is_kept_as_it_was_sent() {
        let (address, mails) = mailbox(&["450 4.7.1 come again"]).await;
        let envelope = "MAIL FROM:<host@x.example> SIZE=99\r\nRCPT TO:<a@y.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n";
        // A dot at the beginning of a line is doubled on the way (RFC 5321, 4.5.2).
        let message = "Subject: one\r\n\r\nfirst\r\n..\r\n..dotted\r\nlast\r\n.\r\n";
        let twice =
            format!("EHLO x\r\nAUTH PLAIN AHUAcA==\r\n{envelope}{message}{envelope}{message}QUIT\r\n");
        let expected = "220 250 235 250 250 250 354 450 250 250 250 354 250 221";
        assert_eq!(codes(address, &twice).await.join(" "), expected);
        let mails = mails.lock().unwrap();
        assert_eq!((mails[0].from.as_str(), mails[0].to.len(), mails.len()), ("host@x.example", 2, 1));
        assert_eq!(mails[0].message, "Subject: one\r\n\r\nfirst\r\n.\r\n.dotted\r\nlast\r\n");
    }

    /// The codes of the answers to these lines, sent at once.
    async fn codes(address: SocketAddr, lines: &str) -> Vec<String> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(lines.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said.lines()
            .filter(|line| line.as_bytes().get(3) == Some(&b' '))
            .map(|line| line[..3].to_owned())
            .collect()
    }

    #[tokio::test]
    async fn what_is_out_of_turn_or_unknown_is_refused() {
        let (address, mails) = mailbox(&[]).await;
        let lines = "HELO x\r\nDATA\r\nRCPT TO:<a@b>\r\nMAIL FROM:a\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<a@b>\r\n\
            RSET\r\nDATA\r\nSTARTTLS\r\nAUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\nAUTH PLAIN\r\nAHUAcA==\r\nAUTH X\r\nQUIT\r\n";
        let expected = "220 250 503 503 501 250 501 250 250 503 502 334 334 235 334 235 504 221";
        assert_eq!(codes(address, lines).await.join(" "), expected);
        let many = format!("EHLO x\r\nMAIL FROM:<a@b>\r\n{}QUIT\r\n", "RCPT TO:<a@b>\r\n".repeat(101));
        let codes = codes(address, &many).await;
        assert_eq!(codes.iter().filter(|code| *code == "452").count(), 1);
        assert!(mails.lock().unwrap().is_empty());
    }
}
