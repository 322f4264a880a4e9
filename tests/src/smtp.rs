//! A mail server on bare sockets that does what its script says, and remembers every mail: for what real servers do seldom.
//!
//! It must not know the host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::sink::{Act, Gate, PATIENCE};

/// What a client said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The command's word in capitals; `CONNECT` when it connects, `.` at a message's end.
    pub verb: String,
    /// The whole line.
    pub line: String,
    /// Which connection, from 1.
    pub connection: usize,
    /// How many times this word has been said on all connections, from 1.
    pub nth: usize,
}

/// What is answered.
#[derive(Clone)]
pub enum Reply {
    /// What a server answers that takes everything.
    Usual,
    /// These bytes, with the end of a line.
    Say(String),
    /// These bytes, and then the connection is closed.
    Last(String),
    /// After so long.
    After(Duration, Box<Reply>),
    /// When the gate is open.
    When(Gate, Box<Reply>),
    /// The connection is closed.
    Cut,
    /// To DATA alone: the message is asked for, and the connection closed after so many bytes of it.
    CutAfter(usize),
    /// This is done, then this is answered.
    Then(Act, Box<Reply>),
    /// Nothing, until the other side gives up.
    Hang,
}

impl Reply {
    /// This line.
    pub fn say(line: &str) -> Self {
        Self::Say(line.to_owned())
    }
}

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The mail, without what transparency doubles.
    pub raw: Vec<u8>,
    /// Over which connection, from 1.
    pub connection: usize,
}

impl Taken {
    /// The value of a header that is one line.
    pub fn header(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.raw);
        let line = text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        line.unwrap_or_default()
    }
}

type Script = Arc<dyn Fn(&Said) -> Reply + Send + Sync>;

struct State {
    offers: Mutex<Vec<String>>,
    script: Mutex<Script>,
    said: Mutex<Vec<Said>>,
    taken: Mutex<Vec<Taken>>,
    count: watch::Sender<usize>,
}

/// A running server; gone when it is dropped.
pub struct SmtpSink {
    /// Where it listens, on `127.0.0.1`.
    pub port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SmtpSink {
    /// One that offers these extensions, such as `PIPELINING` and `SIZE 1000`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn offering(offers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State {
            offers: Mutex::new(offers.iter().map(|one| (*one).to_owned()).collect()),
            script: Mutex::new(Arc::new(|_| Reply::Usual)),
            said: Mutex::default(),
            taken: Mutex::default(),
            count: watch::channel(0).0,
        });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 1.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let state = shared.clone();
                // A client that hangs up ends its conversation, and nothing else.
                connections.spawn(async move { talk(stream, &state, connection).await });
            }
        });
        Self { port, state, accepting }
    }

    /// Answers as this says from now on.
    pub fn script(&self, script: impl Fn(&Said) -> Reply + Send + Sync + 'static) {
        *lock(&self.state.script) = Arc::new(script);
    }

    /// Everything that was said.
    pub fn said(&self) -> Vec<Said> {
        lock(&self.state.said).clone()
    }

    /// The words that were said on a connection, in order.
    pub fn verbs(&self, connection: usize) -> Vec<String> {
        self.said().into_iter().filter(|said| said.connection == connection).map(|said| said.verb).collect()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.said().iter().filter(|said| said.verb == "CONNECT").count()
    }

    /// The mails that were taken.
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.state.taken).clone()
    }

    /// The mails that were taken, when there are at least so many.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn come(&self, count: usize) -> Vec<Taken> {
        let mut counted = self.state.count.subscribe();
        let come = tokio::time::timeout(PATIENCE, counted.wait_for(|n| *n >= count)).await;
        assert!(come.is_ok(), "{} of {count} mails came; it heard {:#?}", self.taken().len(), self.said());
        self.taken()
    }
}

/// What a conversation goes on with.
enum Next {
    Command,
    Message,
    End,
}

async fn talk(stream: TcpStream, state: &State, connection: usize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to) = (String::new(), Vec::new());
    let mut line = "CONNECT".to_owned();
    loop {
        let said = remember(state, &line, connection);
        let script = lock(&state.script).clone();
        let next = answer(&mut stream, state, &said, script(&said)).await?;
        match (&next, said.verb.as_str()) {
            (Next::End, _) => return Ok(()),
            (_, "MAIL") => (from, to) = (path(&line), Vec::new()),
            (_, "RCPT") => to.push(path(&line)),
            _ => {}
        }
        if matches!(next, Next::Message) {
            let raw = message(&mut stream).await?;
            let said = remember(state, ".", connection);
            // What is told may be a kill: by then the mail is there.
            let reply = script(&said);
            let taken = Taken { from: from.clone(), to: to.clone(), raw, connection };
            let keeps = match &reply {
                Reply::Say(line) | Reply::Last(line) => line.starts_with('2'),
                _ => true,
            };
            if keeps {
                lock(&state.taken).push(taken);
                state.count.send_modify(|n| *n += 1);
            }
            if matches!(answer(&mut stream, state, &said, reply).await?, Next::End) {
                return Ok(());
            }
        }
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        line.truncate(line.trim_end().len());
    }
}

fn remember(state: &State, line: &str, connection: usize) -> Said {
    let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
    let mut all = lock(&state.said);
    let nth = all.iter().filter(|said| said.verb == verb).count() + 1;
    let said = Said { verb, line: line.to_owned(), connection, nth };
    all.push(said.clone());
    said
}

/// What stands between `<` and `>`.
fn path(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or_default().to_owned()
}

async fn answer(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    said: &Said,
    mut reply: Reply,
) -> std::io::Result<Next> {
    loop {
        let (text, last) = match reply {
            Reply::After(pause, then) => {
                tokio::time::sleep(pause).await;
                reply = *then;
                continue;
            }
            Reply::When(gate, then) => {
                gate.pass().await;
                reply = *then;
                continue;
            }
            Reply::Then(act, then) => {
                act();
                reply = *then;
                continue;
            }
            Reply::Cut => return Ok(Next::End),
            Reply::Hang => {
                // Until the other side hangs up.
                while stream.read(&mut [0; 1_024]).await? > 0 {}
                return Ok(Next::End);
            }
            Reply::CutAfter(bytes) => {
                stream.write_all(b"354 go on\r\n").await?;
                stream.read_exact(&mut vec![0; bytes]).await?;
                return Ok(Next::End);
            }
            Reply::Say(text) => (text, false),
            Reply::Last(text) => (text, true),
            Reply::Usual => (usual(state, &said.verb), said.verb == "QUIT"),
        };
        stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        return Ok(match said.verb.as_str() {
            _ if last => Next::End,
            "DATA" if text.starts_with("354") => Next::Message,
            _ => Next::Command,
        });
    }
}

fn usual(state: &State, verb: &str) -> String {
    match verb {
        "CONNECT" => "220 sink.test ESMTP".to_owned(),
        "EHLO" => {
            let offers = lock(&state.offers).clone();
            let mut lines = vec!["sink.test".to_owned()];
            lines.extend(offers);
            let last = lines.len() - 1;
            let line =
                |(at, line): (usize, &String)| format!("250{}{line}", if at == last { ' ' } else { '-' });
            lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
        }
        "AUTH" => "235 welcome".to_owned(),
        "DATA" => "354 go on".to_owned(),
        "QUIT" => "221 bye".to_owned(),
        _ => "250 ok".to_owned(),
    }
}

/// Reads to the line with a dot alone.
async fn message(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(raw);
        }
        raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
