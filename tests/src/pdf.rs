//! What others read in a PDF: the programs of poppler (Debian's `poppler-utils`).

use std::process::Command;

/// The text of a PDF as `pdftotext` reads it, without the marks of direction that it adds.
///
/// # Panics
/// When it is no PDF without faults, or the program is missing.
pub fn text(pdf: &[u8]) -> String {
    let mut text = run("pdftotext", &["-enc", "UTF-8"], pdf, Some("-"));
    text.retain(|c| !matches!(c, '\u{202A}'..='\u{202E}'));
    text
}

/// A line of what `pdfinfo` says, such as `Pages`.
///
/// # Panics
/// When it is no PDF without faults, says nothing about that, or the program is missing.
pub fn info(pdf: &[u8], name: &str) -> String {
    let said = run("pdfinfo", &["-isodates"], pdf, None);
    let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("pdfinfo says no {name}:\n{said}")).trim().to_owned()
}

fn run(program: &str, arguments: &[&str], pdf: &[u8], to: Option<&str>) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("document.pdf");
    std::fs::write(&path, pdf).expect("the file is written");
    let output = Command::new(program).args(arguments).arg(&path).args(to).output().unwrap_or_else(|error| {
        panic!("{program} cannot be started ({error}): apt-get install poppler-utils");
    });
    // Both tell of every fault that they get over.
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && faults.is_empty(), "{program}: {faults}");
    String::from_utf8(output.stdout).expect("it writes UTF-8")
}
