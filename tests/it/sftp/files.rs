//! What is at the server after files were sent: names, folders, permissions, collisions, sizes.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use hookyard::carrier::Existing;
use hookyard::retry::Outcome;
use hookyard::store::work::{Body, Message};
use hookyard_tests::sshd::{Setup, run};
use tokio::process::Command;

use super::{Bed, SftpLimits, delivery, file, noise, said};

#[tokio::test]
async fn a_file_comes_whole_below_the_folder_with_its_permissions() {
    let mut bed = Bed::make().await;
    bed.spec.folder = Some("in/Fälle 2026".to_owned());
    bed.spec.mode = Some("0640".to_owned());
    let content = noise(300_000);
    let report = bed.delivered(&file("a", "Ærø/Bericht #1?.pdf", content.clone())).await;
    let name = "in/Fälle 2026/Ærø/Bericht #1?.pdf";
    assert_eq!(bed.sshd.read(name), content);
    let mode = std::fs::metadata(bed.sshd.home().join(name)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);

    let request: serde_json::Value = serde_json::from_str(&report.request).unwrap();
    assert_eq!(request["host"], "127.0.0.1");
    assert_eq!(request["port"], bed.sshd.port());
    assert_eq!(request["username"], bed.sshd.user());
    assert_eq!((&request["path"], &request["bytes"]), (&name.into(), &300_000.into()));
    let sum = run(Command::new("sha256sum").arg(bed.sshd.home().join(name))).await;
    assert!(sum.starts_with(request["sha256"].as_str().unwrap()), "{sum}");
    let steps = said(&report);
    for step in [
        "connected to 127.0.0.1:",
        "server SSH-2.0-OpenSSH",
        "host key SHA256:",
        "logged in as",
        "made the folder \"in\"",
        "wrote 300000 bytes, on its disk",
        "named it \"in/Fälle 2026/Ærø/Bericht #1?.pdf\"",
    ] {
        assert!(steps.contains(step), "{step}: {steps}");
    }
    bed.sender.close().await;
    assert_eq!(bed.sshd.files().len(), 1, "the second name is gone: {:?}", bed.sshd.files());

    // As another client sees it.
    let key = bed.sshd.home().join("../key");
    std::fs::write(&key, &bed.key.private).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let fetched = bed.sshd.home().join("../fetched");
    let batch = bed.sshd.home().join("../batch");
    std::fs::write(&batch, format!("get \"{name}\" \"{}\"\n", fetched.display())).unwrap();
    let mut sftp = Command::new("sftp");
    sftp.args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"]).arg(&key);
    sftp.args(["-P", &bed.sshd.port().to_string(), "-b"]).arg(&batch);
    run(sftp.arg(format!("{}@127.0.0.1", bed.sshd.user()))).await;
    assert_eq!(std::fs::read(fetched).unwrap(), content);
}

#[tokio::test]
async fn files_without_a_name_are_named_by_the_template() {
    let mut bed = Bed::make().await;
    let forwarded = |event: &str| delivery(event, Message::Forward, Body::Original);
    bed.delivered(&forwarded("a")).await;
    bed.spec.file_name = Some("${brand}/${referenceId}".to_owned());
    bed.delivered(&forwarded("b")).await;
    bed.delivered(&delivery("c", Message::Forward, Body::Bytes("%PDF-1.7".into()))).await;
    assert_eq!(
        bed.sshd.names(),
        ["NB_48213_4e7d1c92-_20251024T100000Z.json", "Nørd/NB_48213.json", "Nørd/NB_48213.pdf"]
    );
    let wrong = bed.send(&delivery("d", Message::Sftp { path: "../x".to_owned() }, Body::Original)).await;
    assert!(matches!(wrong.outcome, Outcome::Unavailable(_)), "{:?}", wrong.outcome);
    bed.sender.close().await;
}

#[tokio::test]
async fn a_taken_name_is_numbered_replaced_or_an_error() {
    let mut bed = Bed::make().await;
    // The same bytes each time: what tells them apart is whose they are.
    for event in ["a", "b", "c"] {
        bed.delivered(&file(event, "x/same.tar.gz", "same")).await;
    }
    assert_eq!(bed.sshd.names(), ["x/same-2.tar.gz", "x/same-3.tar.gz", "x/same.tar.gz"]);

    bed.spec.existing = Existing::Replace;
    let report = bed.delivered(&file("d", "x/same.tar.gz", "replaced")).await;
    assert!(said(&report).contains("renamed it to \"x/same.tar.gz\""), "{}", said(&report));
    assert_eq!(bed.sshd.read("x/same.tar.gz"), b"replaced");
    assert_eq!(bed.sshd.names().len(), 3);

    bed.spec.existing = Existing::Error;
    let report = bed.send(&file("e", "x/same.tar.gz", "refused")).await;
    assert!(matches!(report.outcome, Outcome::Rejected(_)), "{:?}", report.outcome);
    assert_eq!(report.error.unwrap(), "there is a file \"x/same.tar.gz\" already, and `existing` is `error`");
    assert_eq!(bed.sshd.read("x/same.tar.gz"), b"replaced");
    bed.delivered(&file("f", "x/free", "free")).await;
    bed.sender.close().await;
    assert_eq!(bed.sshd.files().len(), 4, "{:?}", bed.sshd.files());
}

/// Many at once, to one name: each finds a number of its own, over one connection.
async fn crowd(setup: Setup, count: usize) {
    let bed = Arc::new(Bed::with(setup, SftpLimits { channels: 8, ..SftpLimits::default() }).await);
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..count {
        let bed = bed.clone();
        crowd
            .spawn(async move { bed.delivered(&file(&format!("evt-{n}"), "x/a.txt", format!("{n}"))).await });
    }
    crowd.join_all().await;
    let mut names = bed.sshd.names();
    let mut contents: Vec<_> =
        names.iter().map(|name| String::from_utf8(bed.sshd.read(name)).unwrap()).collect();
    contents.sort_by_key(|content| content.parse::<usize>().unwrap());
    let all: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(contents, all, "each once: {names:?}");
    names.sort_by_key(|name| name.len());
    assert_eq!((names[0].as_str(), names.len()), ("x/a.txt", count));
    assert_eq!(bed.sshd.logins(), 1, "one session is enough");
    bed.sender.close().await;
    assert_eq!(bed.sshd.files().len(), count, "{:?}", bed.sshd.files());
}

#[tokio::test]
async fn many_at_once_to_one_name_are_all_there() {
    crowd(Setup::default(), 40).await;
}

#[tokio::test]
async fn the_same_without_hard_links_and_with_fewer_channels() {
    let sftp_options = "-P hardlink".to_owned();
    crowd(Setup { sftp_options, lines: vec!["MaxSessions 2".to_owned()], ..Setup::default() }, 20).await;
}

#[tokio::test]
async fn a_server_without_extensions_is_served_all_the_same() {
    let sftp_options = "-P hardlink,posix-rename,fsync".to_owned();
    let mut bed = Bed::with(Setup { sftp_options, ..Setup::default() }, SftpLimits::default()).await;
    bed.delivered(&file("a", "x", "first")).await;
    bed.delivered(&file("b", "x", "second")).await;
    bed.spec.existing = Existing::Replace;
    bed.delivered(&file("c", "x", "third")).await;
    assert_eq!((bed.sshd.read("x"), bed.sshd.read("x-2")), (b"third".to_vec(), b"second".to_vec()));
    assert_eq!(bed.sshd.files().len(), 2, "{:?}", bed.sshd.files());
    bed.sender.close().await;
}

#[tokio::test]
async fn sessions_are_reused_and_end_when_they_rest() {
    let limits = SftpLimits { idle: Duration::from_millis(300), ..SftpLimits::default() };
    let mut bed = Bed::with(Setup::default(), limits).await;
    for n in 0..5 {
        bed.delivered(&file(&format!("evt-{n}"), "x", "x")).await;
    }
    assert_eq!(bed.sshd.logins(), 1);
    bed.sshd.logged("the session's end", |log| log.contains("Disconnected from user")).await;
    assert_eq!(bed.sshd.files().len(), 5, "second names are gone with it: {:?}", bed.sshd.files());
    bed.delivered(&file("again", "x", "x")).await;
    assert_eq!(bed.sshd.logins(), 2);
    // Other settings mean another session, and the one before ends.
    bed.spec.host_keys.push(bed.sshd.host_key(0).await.public);
    bed.delivered(&file("other", "x", "x")).await;
    assert_eq!(bed.sshd.logins(), 3);
    bed.sshd.logged("both ends", |log| log.matches("Disconnected from user").count() >= 2).await;
    bed.sender.close().await;
}

#[tokio::test]
async fn the_number_of_sessions_is_bounded_and_the_longest_rested_makes_place() {
    let limits = SftpLimits { sessions: 1, ..SftpLimits::default() };
    let bed = Bed::with(Setup::default(), limits).await;
    let (spec, secrets) = bed.described();
    let now = hookyard::clock::Clock::system().now();
    for (n, name) in ["one", "two", "one"].into_iter().enumerate() {
        let (carrier, name) = ("acme".parse().unwrap(), name.parse().unwrap());
        let target =
            hookyard::deliver::Target::compile(carrier, name, &spec, &secrets, &super::loopback()).unwrap();
        let report =
            bed.sender.attempt(&target, &file(&format!("evt-{n}"), "x", "x"), super::LONG, now).await;
        assert_eq!(report.outcome, Outcome::Delivered, "{:?}", report.error);
        assert_eq!(bed.sshd.logins(), n + 1);
    }
    bed.sshd.logged("two ends", |log| log.matches("Disconnected from user").count() >= 2).await;
    bed.sender.close().await;
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_large_file_needs_little_memory() {
    const SIZE: usize = 200 << 20;
    let bed = Bed::make().await;
    bed.delivered(&file("small", "small", "x")).await;
    let content = noise(SIZE);
    let before = peak();
    let report = bed.delivered(&file("large", "large", content.clone())).await;
    let grown = peak() - before;
    assert!(grown < 32 << 20, "{} MiB more", grown >> 20);
    assert!(bed.sshd.read("large") == content, "the same bytes");
    println!("200 MiB in {:.1} s, {} MiB more memory", report.duration_us as f64 / 1e6, grown >> 20);
    bed.sender.close().await;
}
