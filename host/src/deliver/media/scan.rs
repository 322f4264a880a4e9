//! The virus scanner: ClamAV's `clamd`, by the command `INSTREAM` of its protocol (`clamd(8)`): the file goes over the
//! connection in pieces, each behind its length in 32 bits, big-endian; a length of 0 ends it, and one line answers.
//!
//! Own code, since what a refused file is answered with comes while it is still being sent: a client that only writes and then
//! reads loses the reason with the connection.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Bytes of one piece.
const PIECE: usize = 64 << 10;
/// The longest answer that is read, in bytes.
const ANSWER: u64 = 4 << 10;

/// Where the scanner listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScannerAddress {
    /// A socket of this machine.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// The scanner.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    pub(super) address: ScannerAddress,
    /// How long one file may take.
    pub(super) limit: Duration,
}

/// What it says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Clean,
    /// The name of what it found.
    Found(String),
    /// It takes no file of this size.
    TooLarge,
}

/// Why it has said nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    #[error("it cannot be spoken to: {0}")]
    Io(#[from] std::io::Error),
    #[error("it did not answer within {0:?}, the limit `media.scan_s`")]
    Timeout(Duration),
    #[error("it answered {0:?}")]
    Answer(String),
}

impl FromStr for ScannerAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let port = text
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse::<u16>().ok());
        match port {
            Some(port) if port > 0 => Ok(Self::Tcp(text.to_owned())),
            _ => Err(format!("{text:?} is neither `unix:` with an absolute path nor `host:port`")),
        }
    }
}

impl Scanner {
    /// Has a file looked at.
    pub(super) async fn scan(&self, path: &Path) -> Result<Verdict, ScanError> {
        let exchange = async {
            let file = tokio::fs::File::open(path).await?;
            let answer = match &self.address {
                ScannerAddress::Unix(socket) => send(UnixStream::connect(socket).await?, file).await?,
                ScannerAddress::Tcp(address) => send(TcpStream::connect(address).await?, file).await?,
            };
            read(&answer)
        };
        tokio::time::timeout(self.limit, exchange).await.unwrap_or(Err(ScanError::Timeout(self.limit)))
    }
}

/// Sends a file and gives the answer, which may come before all of the file has been taken.
async fn send<S: AsyncRead + AsyncWrite>(
    stream: S,
    mut file: impl AsyncRead + Unpin,
) -> Result<String, std::io::Error> {
    let (reader, mut writer) = tokio::io::split(stream);
    let give = async {
        writer.write_all(b"zINSTREAM\0").await?;
        let mut piece = vec![0; PIECE];
        loop {
            let n = file.read(&mut piece).await?;
            writer.write_all(&u32::try_from(n).unwrap_or(0).to_be_bytes()).await?;
            if n == 0 {
                return writer.flush().await;
            }
            writer.write_all(&piece[..n]).await?;
        }
    };
    let hear = async {
        let mut answer = Vec::new();
        let heard = reader.take(ANSWER).read_to_end(&mut answer).await;
        // It closes hard on what it does not take to its end; its word counts all the same.
        if answer.is_empty() { heard.map(|_| answer) } else { Ok(answer) }
    };
    tokio::pin!(give, hear);
    let (given, heard) = tokio::select! {
        heard = &mut hear => (Ok(()), heard),
        given = &mut give => (given, hear.await),
    };
    match (given, heard?) {
        (Err(why), answer) if answer.is_empty() => Err(why),
        (_, answer) => Ok(String::from_utf8_lossy(&answer).trim_end_matches('\0').trim().to_owned()),
    }
}

fn read(answer: &str) -> Result<Verdict, ScanError> {
    let said = answer.strip_prefix("stream: ").unwrap_or(answer);
    if said == "OK" {
        return Ok(Verdict::Clean);
    }
    if let Some(name) = said.strip_suffix(" FOUND") {
        return Ok(Verdict::Found(name.chars().take(200).collect()));
    }
    if said.contains("size limit exceeded") {
        return Ok(Verdict::TooLarge);
    }
    Err(ScanError::Answer(said.chars().take(200).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_socket_or_a_host_with_a_port() {
        let of = |text: &str| text.parse::<ScannerAddress>();
        assert_eq!(of("unix:/run/clamd.sock"), Ok(ScannerAddress::Unix("/run/clamd.sock".into())));
        assert_eq!(of("[::1]:3310"), Ok(ScannerAddress::Tcp("[::1]:3310".to_owned())));
        for bad in ["", "clamd", "clamd:", ":3310", "unix:clamd", "clamd:0", "clamd:99999"] {
            assert!(of(bad).unwrap_err().contains("host:port"), "{bad}");
        }
    }

    #[test]
    fn answers_are_a_verdict_or_an_error() {
        assert_eq!(read("stream: OK").unwrap(), Verdict::Clean);
        assert_eq!(read("stream: Eicar FOUND").unwrap(), Verdict::Found("Eicar".to_owned()));
        assert_eq!(read("INSTREAM size limit exceeded. ERROR").unwrap(), Verdict::TooLarge);
        for odd in ["", "stream: Can't allocate memory ERROR", "UNKNOWN COMMAND"] {
            assert!(matches!(read(odd), Err(ScanError::Answer(_))), "{odd}");
        }
    }
}
