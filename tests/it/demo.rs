//! The demo, as a user runs it.

use hookyard_tests::wasm::binary;
use tokio::process::Command;

#[tokio::test]
async fn the_demo_adds_up_for_all_kinds_of_destination() {
    let done = Command::new(binary()).args(["demo", "--events", "10"]).output().await.unwrap();
    let (said, logged) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}\n{logged}");
    for line in [
        "Everything agrees with what the receiver got",
        "Mailed and put transcripts are the same, and every picture is the one that was sent.",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    let files = said.lines().filter(|line| line.contains(" bytes  sha256 ")).count();
    assert_eq!(files, 12, "three transcripts, mailed and put, and six pictures: {said}");
}
