//! What goes wrong on the way, and what is at the server afterwards: nothing half-done under a final name, nothing twice, and
//! nothing lost.

use std::time::Duration;

use hookyard::carrier::Existing;
use hookyard::clock::Millis;
use hookyard::retry::{NetworkFault, Outcome};
use hookyard_tests::relay::{Relay, Rule};
use hookyard_tests::sink::PATIENCE;
use hookyard_tests::sshd::{Setup, is_root, run};
use tokio::process::Command;

use super::{Bed, SftpLimits, file, noise, said};

const MIB: u64 = 1 << 20;

/// A server behind a relay.
async fn relayed() -> (Bed, Relay) {
    let mut bed = Bed::make().await;
    let relay = Relay::start(bed.sshd.port()).await;
    bed.spec.port = Some(relay.port());
    (bed, relay)
}

#[tokio::test]
async fn an_upload_that_is_cut_is_gone_on_with() {
    let (bed, relay) = relayed().await;
    let content = noise(24 << 20);
    let large = file("a", "in/large", content.clone());
    relay.rule(Rule::CutAfter(12 * MIB));
    let report = bed.send(&large).await;
    assert_eq!(report.outcome, Outcome::Network(NetworkFault::Broken), "{:?}", report.error);
    assert!(bed.sshd.names().is_empty(), "nothing has its final name: {:?}", bed.sshd.files());

    relay.rule(Rule::Pass);
    let report = bed.delivered(&large).await;
    assert!(said(&report).contains("going on at byte "), "{}", said(&report));
    assert!(relay.sent() < 19 * MIB, "{} MiB were sent again", relay.sent() / MIB);
    assert!(bed.sshd.read("in/large") == content, "the same bytes");
    bed.sender.close().await;
    assert_eq!(bed.sshd.files().len(), 1, "{:?}", bed.sshd.files());
}

#[tokio::test]
async fn what_the_server_lost_is_sent_again() {
    let (bed, relay) = relayed().await;
    let content = noise(16 << 20);
    let large = file("a", "large", content.clone());
    relay.rule(Rule::CutAfter(12 * MIB));
    bed.send(&large).await;
    let (name, size) = bed.sshd.files().pop().unwrap();
    let part = bed.sshd.home().join(name);
    std::fs::write(&part, vec![0; usize::try_from(size).unwrap()]).unwrap();
    relay.rule(Rule::Pass);
    let report = bed.delivered(&large).await;
    assert!(said(&report).contains("from the beginning"), "{}", said(&report));
    assert!(bed.sshd.read("large") == content, "the same bytes");
    bed.sender.close().await;
}

#[tokio::test]
async fn a_stall_costs_the_timeout_and_nothing_more() {
    let (bed, relay) = relayed().await;
    let large = file("a", "large", noise(8 << 20));
    relay.rule(Rule::StallAfter(2 * MIB));
    let report = bed.within(&large, Duration::from_secs(1)).await;
    assert_eq!(report.outcome, Outcome::Timeout, "{:?}", report.error);
    assert!(report.error.unwrap().starts_with("waited 1s for "), "{}", said(&bed.send(&large).await));
    assert!(report.duration_us < 15_000_000, "{}", report.duration_us);
    // From the first byte on.
    relay.rule(Rule::StallAfter(0));
    let report = bed.within(&file("b", "b", "b"), Duration::from_secs(1)).await;
    assert_eq!(report.outcome, Outcome::Timeout);
    assert_eq!(report.error.unwrap(), "waited 1s for a connection and the login");
    assert!(bed.sshd.names().is_empty(), "{:?}", bed.sshd.files());
    relay.rule(Rule::Pass);
    bed.delivered(&large).await;
    bed.sender.close().await;
}

#[tokio::test]
async fn a_dead_session_is_replaced_without_costing_an_attempt() {
    let (bed, relay) = relayed().await;
    bed.delivered(&file("a", "a", "a")).await;
    relay.cut();
    bed.delivered(&file("b", "b", "b")).await;
    assert_eq!(relay.connections(), 2);
    // It is there, and silent.
    relay.rule(Rule::StallAfter(0));
    let patient = tokio::spawn({
        let (sender, target) = (bed.sender.clone(), bed.compile().unwrap());
        async move { sender.attempt(&target, &file("c", "c", "c"), Duration::from_secs(60), Millis(0)).await }
    });
    let third = async {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while relay.connections() < 3 {
            beat.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, third).await.expect("another connection");
    relay.rule(Rule::Pass);
    let report = patient.await.unwrap();
    assert_eq!(report.outcome, Outcome::Delivered, "{:?}\n{}", report.error, said(&report));
    assert!(said(&report).contains("the connection that was there is dead"), "{}", said(&report));
    assert_eq!(bed.sshd.names(), ["a", "b", "c"]);
    bed.sender.close().await;
}

#[tokio::test]
async fn an_attempt_is_bounded_in_all() {
    let limits = SftpLimits { total: Duration::from_secs(1), ..SftpLimits::default() };
    let mut bed = Bed::with(Setup::default(), limits).await;
    let relay = Relay::start(bed.sshd.port()).await;
    bed.spec.port = Some(relay.port());
    relay.rule(Rule::StallAfter(MIB));
    let report = bed.send(&file("a", "a", noise(4 << 20))).await;
    assert_eq!(report.outcome, Outcome::Timeout);
    assert_eq!(report.error.unwrap(), "it took longer than 1 s in all, the limit `sftp.total_s`");
}

#[tokio::test]
async fn nobody_listens_and_no_name() {
    let mut bed = Bed::make().await;
    bed.sshd.end().await;
    let report = bed.send(&file("a", "a", "a")).await;
    assert_eq!(report.outcome, Outcome::Network(NetworkFault::Connect), "{:?}", report.error);
    bed.spec.host = Some("no-such-host.invalid".to_owned());
    let report = bed.send(&file("a", "a", "a")).await;
    assert_eq!(report.outcome, Outcome::Network(NetworkFault::Dns), "{:?}", report.error);
}

/// The server's answer to what gave a file its final name never comes: what a `kill -9` at that moment leaves.
async fn lost_answer(existing: Existing, sftp_options: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Passes on what the SFTP server says, until a file has its final name and `hold` is there.
    let script = folder.path().join("sftp");
    let server = ["/usr/lib/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server"];
    let server =
        server.into_iter().find(|path| std::path::Path::new(path).exists()).expect("openssh-sftp-server");
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nexec python3 -c '\nimport os, subprocess, sys, time\n\
             server = subprocess.Popen([\"{server}\", \"-d\", \"{home}\"{options}], stdout=subprocess.PIPE, bufsize=0)\n\
             while True:\n    said = server.stdout.read(65536)\n    if not said: break\n    \
             while os.path.exists(\"{folder}/hold\") and any(not n.startswith(\".\") for n in os.listdir(\"{home}\")): time.sleep(0.01)\n    \
             os.write(1, said)\n'\n",
            home = home.display(),
            folder = folder.path().display(),
            options = if sftp_options.is_empty() { String::new() } else { format!(", \"-P\", \"{sftp_options}\"") },
        ),
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let setup = Setup { subsystem: Some(script.display().to_string()), ..Setup::default() };
    let mut bed = Bed::with(setup, SftpLimits::default()).await;
    bed.spec.existing = existing;
    std::fs::write(folder.path().join("hold"), "").unwrap();
    let first = file("a", "a.txt", "the same");
    let report = bed.within(&first, Duration::from_secs(2)).await;
    assert_eq!(report.outcome, Outcome::Timeout, "{:?}", report.error);
    let names = || {
        let names = std::fs::read_dir(&home).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["a.txt"], "it is there, and nobody knows");

    std::fs::remove_file(folder.path().join("hold")).unwrap();
    bed.delivered(&first).await;
    assert_eq!(names(), ["a.txt"], "it is there once");
    if existing == Existing::Number && sftp_options.is_empty() {
        bed.delivered(&file("b", "a.txt", "the same")).await;
        assert_eq!(names(), ["a-2.txt", "a.txt"], "another delivery is another file");
    }
    bed.sender.close().await;
    let all = std::fs::read_dir(&home).unwrap().count();
    assert_eq!(all, names().len(), "no other name is left");
}

#[tokio::test]
async fn a_file_whose_arrival_nobody_heard_of_is_there_once() {
    for existing in [Existing::Number, Existing::Error, Existing::Replace] {
        lost_answer(existing, "").await;
    }
}

#[tokio::test]
async fn the_same_at_a_server_without_hard_links() {
    for existing in [Existing::Number, Existing::Error, Existing::Replace] {
        lost_answer(existing, "hardlink").await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_tried_again() {
    assert!(is_root(), "this test mounts a small file system: run it as root");
    let mut bed = Bed::make().await;
    let small = bed.sshd.home().join("small");
    std::fs::create_dir(&small).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&small)).await;
    bed.spec.folder = Some("small".to_owned());
    let large = file("a", "large", noise(4 << 20));
    let report = bed.send(&large).await;
    let (files, error) = (bed.sshd.files(), report.error.unwrap());
    run(Command::new("mount").args(["-o", "remount,size=8m"]).arg(&small)).await;
    let again = bed.send(&large).await;
    let names = bed.sshd.names();
    bed.sender.close().await;
    run(Command::new("umount").arg("-l").arg(&small)).await;
    assert!(matches!(report.outcome, Outcome::Remote(_)), "{:?}", report.outcome);
    assert!(error.starts_with("writing \"small/.hookyard-"), "{error}");
    assert!(error.contains("the server says failure (4); its disk or a quota may be full"), "{error}");
    assert!(files.is_empty(), "what was sent does not keep it full: {files:?}");
    assert_eq!(again.outcome, Outcome::Delivered, "{:?}", again.error);
    assert_eq!(names, ["small/large"]);
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_told_in_the_servers_words() {
    let bed = Bed::with(Setup { user: true, ..Setup::default() }, SftpLimits::default()).await;
    let closed = bed.sshd.home().join("closed");
    std::fs::create_dir(&closed).unwrap();
    for (path, step) in
        [("closed/a", "making \"closed/.hookyard-"), ("closed/b/a", "making the folder \"closed/b\"")]
    {
        let report = bed.send(&file(path, path, "x")).await;
        assert!(matches!(report.outcome, Outcome::Remote(_)), "{:?}", report.outcome);
        let error = report.error.unwrap();
        assert!(
            error.starts_with(step) && error.ends_with("the server says permission denied (3)"),
            "{error}"
        );
    }
    std::fs::write(bed.sshd.home().join("plain"), "").unwrap();
    let report = bed.send(&file("c", "plain/a", "x")).await;
    assert!(matches!(report.outcome, Outcome::Remote(_)), "{:?}", report.error);
    bed.delivered(&file("d", "open", "x")).await;
    bed.sender.close().await;
}

#[tokio::test]
async fn what_deliveries_left_long_ago_is_removed() {
    let bed = Bed::make().await;
    let home = bed.sshd.home();
    for (name, touched) in [
        (".hookyard-old.part", "2001-01-01"),
        (".hookyard-fresh.part", "now"),
        (".hookyard-old", "2001-01-01"),
        ("old.part", "2001-01-01"),
    ] {
        run(Command::new("touch").args(["-d", touched]).arg(home.join(name))).await;
    }
    let report = bed.delivered(&file("a", "a", "a")).await;
    assert!(said(&report).contains("removed 1 half-done uploads"), "{}", said(&report));
    bed.sender.close().await;
    let names: Vec<_> = bed.sshd.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [".hookyard-fresh.part", ".hookyard-old", "a", "old.part"]);
}

#[tokio::test]
async fn a_name_that_is_a_trap_is_not_followed() {
    let bed = Bed::make().await;
    let target = bed.sshd.home().join("../victim");
    std::fs::write(&target, "untouched").unwrap();
    // Somebody at the server lays links under the final name.
    std::os::unix::fs::symlink(&target, bed.sshd.home().join("a")).unwrap();
    bed.delivered(&file("a", "a", "new")).await;
    assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
    assert_eq!(bed.sshd.read("a-2"), b"new");
    bed.sender.close().await;
}
