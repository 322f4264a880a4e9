//! How fast mails go to a server on this machine, and how fast beside a plain client that sends the same.
//!
//! `cargo bench -p hookyard-tests --bench mail`. The target: 500 mails a second. The plain client builds each mail with lettre, keeps its
//! connections, and waits for each answer; the host also checks recipients, keeps what was said, and sends what may go
//! together at once. What is compared takes turns round by round; each round gives a ratio, and their median counts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use hookyard::carrier::destination::DestinationSecrets;
use hookyard::carrier::{DestinationKind, DestinationSpec, EmailSpec, RelaySecurity, RelaySpec};
use hookyard::clock::{Millis, Stopwatch};
use hookyard::deliver::email::{MailRules, MailSettings};
use hookyard::deliver::{AddressPolicy, Sender, SenderParts, Target};
use hookyard::event::{Event, delivery_id};
use hookyard::retry::Outcome;
use hookyard::store::work::{Body, HeldDelivery, Message};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Mails that are measured together.
const BURST: usize = 400;
/// Connections at once.
const CONNECTIONS: usize = 8;
/// Odd, so that the median is one of them.
const ROUNDS: usize = 15;
const NOW: Millis = Millis(1_761_300_000_123);

/// A server that takes everything and keeps nothing.
async fn sink() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that hangs up ends its conversation, and nothing else.
            tokio::spawn(async move { take(stream).await });
        }
    });
    port
}

async fn take(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut line = Vec::new();
    let mut in_message = false;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match (in_message, line.get(..4)) {
            (true, _) if line == b".\r\n" => b"250 taken\r\n",
            (true, _) => continue,
            (false, Some(b"EHLO")) => b"250-sink\r\n250-PIPELINING\r\n250 SIZE 30000000\r\n",
            (false, Some(b"DATA")) => b"354 go on\r\n",
            (false, _) => b"250 ok\r\n",
        };
        in_message = answer.starts_with(b"354");
        stream.write_all(answer).await?;
    }
}

/// The host's way: a sender, its target, and the mails.
struct Bed {
    sender: Sender,
    target: Target,
    mails: Vec<HeldDelivery>,
    port: u16,
}

impl Bed {
    async fn make() -> Self {
        let port = sink().await;
        let settings =
            MailSettings { allow_plain: true, connections: CONNECTIONS, ..MailSettings::default() };
        let mail = Arc::new(MailRules::new(&settings).expect("rules"));
        let networks = vec!["127.0.0.0/8".parse().expect("a network")];
        let policy = AddressPolicy { allow_http: false, allowed_networks: networks };
        let parts = SenderParts { mail, ..SenderParts::default() };
        let sender = Sender::with(&policy, parts).expect("a sender");
        let relay = RelaySpec {
            host: "127.0.0.1".to_owned(),
            port: Some(port),
            security: RelaySecurity::None,
            username: None,
        };
        let email = EmailSpec {
            to: vec!["office@example.com".to_owned()],
            from: Some("Claims <claims@carrier.example>".to_owned()),
            relay: Some(relay),
            ..EmailSpec::default()
        };
        let spec = DestinationSpec { email: Some(email), ..DestinationSpec::of(DestinationKind::Email) };
        let (carrier, name) = ("acme".parse().expect("a name"), "office".parse().expect("a name"));
        let secrets = DestinationSecrets::default();
        let target = Target::compile(carrier, name, &spec, &secrets, &policy).expect("a target");
        Self { sender, target, mails: (0..BURST).map(mail_of).collect(), port }
    }

    /// All mails, over so many connections.
    async fn burst(&self) {
        let send = |mails: &'_ [HeldDelivery]| {
            let mails = mails.to_vec();
            let (sender, target) = (self.sender.clone(), self.target.clone());
            tokio::spawn(async move {
                for mail in &mails {
                    let report = sender.attempt(&target, mail, Duration::from_secs(30), NOW).await;
                    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
                }
            })
        };
        let all: Vec<_> = self.mails.chunks(BURST / CONNECTIONS).map(send).collect();
        for one in all {
            one.await.expect("they are sent");
        }
    }

    /// The same by a plain client, whose connections are there already.
    async fn plain_burst(&self, clients: &mut Vec<BufReader<TcpStream>>) {
        let mut all = Vec::new();
        for mut client in clients.drain(..) {
            all.push(tokio::spawn(async move {
                for _ in 0..BURST / CONNECTIONS {
                    let mail = plain_mail();
                    for command in [
                        "MAIL FROM:<claims@carrier.example>\r\n",
                        "RCPT TO:<office@example.com>\r\n",
                        "DATA\r\n",
                    ] {
                        say(&mut client, command.as_bytes()).await;
                    }
                    say(&mut client, &[&mail, &b"\r\n.\r\n"[..]].concat()).await;
                }
                client
            }));
        }
        for one in all {
            clients.push(one.await.expect("they are sent"));
        }
    }

    async fn clients(&self) -> Vec<BufReader<TcpStream>> {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            let mut client = BufReader::new(stream);
            say(&mut client, b"").await;
            say(&mut client, b"HELO plain\r\n").await;
            clients.push(client);
        }
        clients
    }
}

/// Says a line and waits for the answer, which is one line.
async fn say(client: &mut BufReader<TcpStream>, line: &[u8]) {
    client.write_all(line).await.expect("it is said");
    let mut answer = String::new();
    client.read_line(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(['2', '3']), "{answer}");
}

fn payload() -> String {
    format!(
        r#"{{"caseData":{{"id":"4e7d1c92-58ab","claimNumber":"S-7"}},"notes":"{}"}}"#,
        "a note. ".repeat(120)
    )
}

fn mail_of(n: usize) -> HeldDelivery {
    let event = Event {
        carrier: "acme".parse().expect("a name"),
        id: format!("evt-{n}").parse().expect("an id"),
        event_type: "case.closed".parse().expect("a type"),
        received: NOW,
        attributes: Arc::default(),
        payload: Bytes::from(payload()),
    };
    let subscription = "main".parse().expect("a name");
    HeldDelivery {
        id: delivery_id(&event, &subscription, 0),
        event: Arc::new(event),
        subscription,
        destination: "office".parse().expect("a name"),
        message: Message::Forward,
        body: Body::Original,
        attempts: 0,
        due: NOW,
    }
}

fn plain_mail() -> Vec<u8> {
    use lettre::message::{Attachment, MultiPart, SinglePart, header::ContentType};
    let json = ContentType::parse("application/json").expect("a type");
    let parts = MultiPart::mixed()
        .singlepart(SinglePart::plain("Event evt of type case.closed.\n".to_owned()))
        .singlepart(Attachment::new("case.json".to_owned()).body(payload(), json));
    let mail = lettre::Message::builder()
        .from("Claims <claims@carrier.example>".parse().expect("an address"))
        .to("office@example.com".parse().expect("an address"))
        .date(std::time::UNIX_EPOCH)
        .subject("case.closed evt")
        .multipart(parts);
    mail.expect("a mail").formatted()
}

/// What the host takes by what the plain client takes, for each round, with the mails a second of both.
async fn ratios(bed: &Bed) {
    let mut clients = bed.clients().await;
    bed.burst().await;
    bed.plain_burst(&mut clients).await;
    let (mut ratios, mut ours, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let watch = Stopwatch::start();
        bed.burst().await;
        let one = watch.elapsed().as_secs_f64();
        let watch = Stopwatch::start();
        bed.plain_burst(&mut clients).await;
        let other = watch.elapsed().as_secs_f64();
        ratios.push(one / other);
        ours.push(BURST as f64 / one);
        plain.push(BURST as f64 / other);
    }
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    println!(
        "\nmedians of {ROUNDS} rounds that take turns, {BURST} mails in each over {CONNECTIONS} connections"
    );
    println!("mails a second, the host                  {:>8.0}", median(ours));
    println!("mails a second, the plain client          {:>8.0}", median(plain));
    println!("the host's time / the plain client's      {:>8.2}", median(ratios));
}

fn main() {
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let bed = tokio.block_on(Bed::make());
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let mut group = criterion.benchmark_group("mail");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("burst", |b| b.iter(|| tokio.block_on(bed.burst())));
    group.finish();
    tokio.block_on(ratios(&bed));
}
