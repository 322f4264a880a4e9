//! GnuPG with a home of its own: it makes the keys that carriers give, and opens what the host encrypted.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A key ring that is gone when this is dropped, with its agent.
pub struct Gnupg(tempfile::TempDir);

impl Default for Gnupg {
    fn default() -> Self {
        Self::new()
    }
}

impl Gnupg {
    /// An empty key ring.
    ///
    /// # Panics
    /// When there is no folder for it.
    pub fn new() -> Self {
        // In /tmp, since the path of the agent's socket may not be long.
        Self(tempfile::Builder::new().prefix("gnupg").tempdir_in("/tmp").expect("a folder"))
    }

    /// Makes a key and gives its public half as a carrier registers it: base64 of the armoured block. `algorithm`, `usage` and
    /// `expires` are those of `gpg --quick-generate-key`, which adds a part for encryption to its own algorithms alone.
    pub fn make(&self, user: &str, algorithm: &str, usage: &str, expires: &str) -> String {
        self.call(&["--quick-generate-key", user, algorithm, usage, expires], &[]);
        self.public(user)
    }

    /// Makes a key by a parameter file (`gpg --full-generate-key --batch`).
    pub fn make_by(&self, user: &str, parameters: &str) -> String {
        let text = format!("{parameters}\nName-Email: {user}\n%no-protection\n%commit\n");
        self.call(&["--full-generate-key"], text.as_bytes());
        self.public(user)
    }

    /// An RSA key of so many bits with a part for encryption; `expires` is `0` for never, or such as `2d`.
    pub fn make_rsa(&self, user: &str, bits: u16, expires: &str) -> String {
        let parameters = format!(
            "Key-Type: RSA\nKey-Length: {bits}\nSubkey-Type: RSA\nSubkey-Length: {bits}\nExpire-Date: {expires}"
        );
        self.make_by(user, &parameters)
    }

    /// The public half of a user's key, as a carrier registers it.
    pub fn public(&self, user: &str) -> String {
        STANDARD.encode(self.call(&["--armor", "--export", user], &[]).stdout)
    }

    /// A user's fingerprint.
    pub fn fingerprint(&self, user: &str) -> String {
        let listed = self.call(&["--with-colons", "--list-keys", user], &[]).stdout;
        let listed = String::from_utf8(listed).expect("text");
        let line = listed.lines().find(|line| line.starts_with("fpr:")).expect("a fingerprint");
        line.split(':').nth(9).expect("the tenth field").to_owned()
    }

    /// Revokes a key by the certificate that was made with it.
    ///
    /// # Panics
    /// When there is none.
    pub fn revoke(&self, fingerprint: &str) {
        let file = self.0.path().join(format!("openpgp-revocs.d/{fingerprint}.rev"));
        let text = std::fs::read_to_string(file).expect("a revocation certificate");
        // A colon before the block keeps it from being used by mistake.
        self.call(&["--import"], text.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    }

    /// What a file holds, decrypted.
    pub fn decrypt(&self, file: &Path) -> Vec<u8> {
        self.call(&["--decrypt", file.to_str().expect("a path")], &[]).stdout
    }

    /// What `gpg` answers to these arguments and this input.
    ///
    /// # Panics
    /// When it is not installed, or fails.
    pub fn call(&self, arguments: &[&str], input: &[u8]) -> Output {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The same, whatever comes of it.
    ///
    /// # Panics
    /// When it is not installed.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new("gpg");
        command
            .arg("--homedir")
            .arg(self.0.path())
            .args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .expect("`gpg` is needed (Debian: apt-get install gnupg); `tests/run` installs it");
        std::io::Write::write_all(&mut child.stdin.take().expect("its stdin"), input).expect("it reads");
        child.wait_with_output().expect("its output")
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        // The agent would end by itself some time after its folder.
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).output();
    }
}
