//! A conversation with a mail server: hello, TLS, login, and one transaction for each mail.
//!
//! A mail goes to all of its recipients or to none: when one of them is refused nothing is sent to the others, so that a
//! retry sends nothing twice. It must not know deliveries.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::fault::{SmtpError, Step};
use super::relay::{Credentials, Relay};
use super::wire::{Answer, Talk, Wire};
use crate::carrier::RelaySecurity;
use crate::deliver::AddressPolicy;
use crate::deliver::address::lookup;

/// To how many of a relay's addresses a connection is tried.
const MAX_ADDRESSES: usize = 4;
/// Mails that go over one connection; then there is a new one.
const MAX_MAILS: u32 = 100;

/// What is sent in one transaction.
#[derive(Debug)]
pub(super) struct Envelope<'m> {
    pub(super) from: &'m Address,
    pub(super) to: &'m [Address],
    /// The complete mail.
    pub(super) mail: &'m [u8],
}

/// A connection on which mails can be sent.
#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    offers: Offers,
    mails: u32,
    /// Whether the server waits for the next command, whatever came of the last mail.
    in_step: bool,
}

/// What a server offers in its answer to EHLO.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offers {
    starttls: bool,
    pipelining: bool,
    /// Bytes of the largest message; 0 when it does not say.
    size: Option<u64>,
    plain: bool,
    login: bool,
}

impl Offers {
    fn of(answer: &Answer) -> Self {
        let mut offers = Self::default();
        for line in answer.lines.iter().skip(1) {
            // Old servers write `AUTH=LOGIN`.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "STARTTLS" => offers.starttls = true,
                "PIPELINING" => offers.pipelining = true,
                "SIZE" => offers.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
                "AUTH" => {
                    for mechanism in words {
                        offers.plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        offers.login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        offers
    }
}

impl Session {
    /// Connects, and goes as far as the first mail. `hello` is the host's name for EHLO.
    pub(super) async fn open(
        relay: &Relay,
        policy: &AddressPolicy,
        hello: Option<&str>,
        talk: &mut Talk,
    ) -> Result<Self, SmtpError> {
        let mut wire = Wire::new(connect(relay, policy, talk).await?);
        let hello = match (hello, wire.local()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(own)) if own.is_ipv4() => format!("[{}]", own.ip()),
            (None, Some(own)) => format!("[IPv6:{}]", own.ip()),
            (None, None) => "[127.0.0.1]".to_owned(),
        };
        if relay.security == RelaySecurity::Tls {
            secure(&mut wire, relay, talk).await?;
        }
        expect(wire.answer(Step::Greeting, talk).await?, Step::Greeting, 220)?;
        let mut offers = greet(&mut wire, &hello, talk).await?;
        if relay.security == RelaySecurity::Starttls {
            if !offers.starttls {
                return Err(SmtpError::NoStarttls);
            }
            expect(ask(&mut wire, "STARTTLS", Step::Starttls, talk).await?, Step::Starttls, 220)?;
            secure(&mut wire, relay, talk).await?;
            // What was offered without TLS is forgotten (RFC 3207, 4.2).
            offers = greet(&mut wire, &hello, talk).await?;
        }
        if let Some(login) = &relay.login {
            log_in(&mut wire, &offers, login, talk).await?;
        }
        Ok(Self { wire, offers, mails: 0, in_step: true })
    }

    /// Sends one mail, and gives the server's word that it has taken it.
    pub(super) async fn send(
        &mut self,
        envelope: &Envelope<'_>,
        talk: &mut Talk,
    ) -> Result<Answer, SmtpError> {
        let bytes = envelope.mail.len();
        if let Some(most) = self.offers.size.filter(|most| *most > 0 && (bytes as u64) > *most) {
            return Err(SmtpError::Size { bytes, most });
        }
        self.in_step = false;
        self.address(envelope, talk).await?;
        let go = ask(&mut self.wire, "DATA", Step::Data, talk).await?;
        if go.code != 354 {
            self.in_step = true;
            return Err(SmtpError::Answer { step: Step::Data, answer: go });
        }
        talk.begun = true;
        talk.transcript.said(&format!("<{bytes} bytes of message>"));
        let sent = self.wire.write_message(&stuffed(envelope.mail), talk).await;
        let answer = match (sent, self.wire.answer(Step::Verdict, talk).await) {
            // A server that has seen enough says why before it hangs up.
            (_, Ok(answer)) => answer,
            (Err(why), Err(_)) | (Ok(()), Err(why)) => return Err(why),
        };
        self.in_step = true;
        self.mails += 1;
        if answer.code / 100 == 2 {
            Ok(answer)
        } else {
            Err(SmtpError::Answer { step: Step::Verdict, answer })
        }
    }

    /// Names sender and recipients. When one is refused the server forgets all of them.
    async fn address(&mut self, envelope: &Envelope<'_>, talk: &mut Talk) -> Result<(), SmtpError> {
        let mut commands = Vec::with_capacity(envelope.to.len() + 2);
        // Whether a connection that was kept is still good is seen at the first answer; and nothing is left of the last mail.
        if self.mails > 0 {
            commands.push((Step::Reset, "RSET".to_owned()));
        }
        let size =
            if self.offers.size.is_some() { format!(" SIZE={}", envelope.mail.len()) } else { String::new() };
        commands.push((Step::Mail, format!("MAIL FROM:<{}>{size}", envelope.from)));
        commands.extend(envelope.to.iter().map(|to| (Step::Rcpt, format!("RCPT TO:<{to}>"))));

        let mut answers = Vec::with_capacity(commands.len());
        if self.offers.pipelining {
            let mut all = String::new();
            for (_, command) in &commands {
                talk.transcript.said(command);
                all.push_str(command);
                all.push_str("\r\n");
            }
            self.wire.write(all.as_bytes(), commands[0].0, talk).await?;
            for (step, _) in &commands {
                answers.push(self.wire.answer(*step, talk).await?);
            }
        } else {
            for (step, command) in &commands {
                let answer = ask(&mut self.wire, command, *step, talk).await?;
                let goes_on = *step == Step::Rcpt || answer.code / 100 == 2;
                answers.push(answer);
                if !goes_on {
                    break;
                }
            }
        }
        let mut refused = Vec::new();
        let mut failed = None;
        let recipients = commands.iter().filter(|(step, _)| *step != Step::Rcpt).count();
        for (at, ((step, _), answer)) in commands.iter().zip(answers).enumerate() {
            match (step, answer.code) {
                (_, 200..=299) => {}
                (Step::Rcpt, _) => refused.push((envelope.to[at - recipients].to_string(), answer)),
                _ if failed.is_none() => failed = Some(SmtpError::Answer { step: *step, answer }),
                _ => {}
            }
        }
        let refusal = failed.or_else(|| (!refused.is_empty()).then_some(SmtpError::Recipients(refused)));
        let Some(refusal) = refusal else { return Ok(()) };
        if !refusal.is_stale() {
            // What was refused is told in any case; whether the connection is kept depends on this.
            self.in_step =
                matches!(ask(&mut self.wire, "RSET", Step::Reset, talk).await, Ok(a) if a.code / 100 == 2);
            self.mails += 1;
        }
        Err(refusal)
    }

    /// Whether the next mail can go over it, too.
    pub(super) fn is_good(&self) -> bool {
        self.in_step && self.mails < MAX_MAILS
    }

    /// Whether the server has said nothing unasked, nor hung up.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.wire.is_quiet()
    }

    /// Takes leave.
    pub(super) async fn quit(self, patience: std::time::Duration) {
        self.wire.quit(patience).await;
    }
}

/// Connects to an address that was checked.
async fn connect(relay: &Relay, policy: &AddressPolicy, talk: &mut Talk) -> Result<TcpStream, SmtpError> {
    let found = if relay.is_guarded {
        let found = talk.wait(Step::Name, async { Ok(lookup(policy, &relay.host).await) }).await?;
        found.map_err(SmtpError::Address)?
    } else {
        let found =
            talk.wait(Step::Name, async { Ok(tokio::net::lookup_host((relay.host.as_str(), 0)).await) });
        found.await?.map_err(|cause| SmtpError::Address(cause.into()))?.collect()
    };
    let mut last = SmtpError::Closed { step: Step::Connect };
    for mut address in found.into_iter().take(MAX_ADDRESSES) {
        address.set_port(relay.port);
        match talk.wait(Step::Connect, TcpStream::connect(address)).await {
            Ok(stream) => {
                talk.transcript.note(&format!("connected to {address}"));
                // Commands are short and waited for.
                stream.set_nodelay(true).map_err(|cause| SmtpError::Io { step: Step::Connect, cause })?;
                return Ok(stream);
            }
            Err(why) => {
                talk.transcript.note(&format!("no connection to {address}"));
                last = why;
            }
        }
    }
    Err(last)
}

async fn secure(wire: &mut Wire, relay: &Relay, talk: &mut Talk) -> Result<(), SmtpError> {
    let name = ServerName::try_from(relay.host.clone()).map_err(|_| SmtpError::ServerName)?;
    wire.secure(relay.tls.clone(), name, talk).await
}

async fn greet(wire: &mut Wire, hello: &str, talk: &mut Talk) -> Result<Offers, SmtpError> {
    let answer = ask(wire, &format!("EHLO {hello}"), Step::Ehlo, talk).await?;
    Ok(Offers::of(&expect(answer, Step::Ehlo, 250)?))
}

async fn log_in(
    wire: &mut Wire,
    offers: &Offers,
    login: &Credentials,
    talk: &mut Talk,
) -> Result<(), SmtpError> {
    let Credentials { username, password } = login;
    if offers.plain {
        let response = STANDARD.encode(format!("\0{username}\0{password}"));
        let answer =
            tell(wire, &format!("AUTH PLAIN {response}"), "AUTH PLAIN ***", Step::Auth, talk).await?;
        expect(answer, Step::Auth, 235)?;
        return Ok(());
    }
    if !offers.login {
        return Err(SmtpError::NoMechanism);
    }
    expect(ask(wire, "AUTH LOGIN", Step::Auth, talk).await?, Step::Auth, 334)?;
    expect(tell(wire, &STANDARD.encode(username), "***", Step::Auth, talk).await?, Step::Auth, 334)?;
    expect(tell(wire, &STANDARD.encode(password), "***", Step::Auth, talk).await?, Step::Auth, 235)?;
    Ok(())
}

/// Says a command and waits for the answer.
async fn ask(wire: &mut Wire, command: &str, step: Step, talk: &mut Talk) -> Result<Answer, SmtpError> {
    tell(wire, command, command, step, talk).await
}

/// The same, where the transcript shows something else.
async fn tell(
    wire: &mut Wire,
    command: &str,
    shown: &str,
    step: Step,
    talk: &mut Talk,
) -> Result<Answer, SmtpError> {
    talk.transcript.said(shown);
    wire.write(format!("{command}\r\n").as_bytes(), step, talk).await?;
    wire.answer(step, talk).await
}

fn expect(answer: Answer, step: Step, code: u16) -> Result<Answer, SmtpError> {
    if answer.code == code { Ok(answer) } else { Err(SmtpError::Answer { step, answer }) }
}

/// A mail as DATA takes it: dots at the beginning of a line doubled, and the line with a dot alone at its end.
fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + mail.len() / 64 + 8);
    let mut at_start = true;
    for line in mail.split_inclusive(|b| *b == b'\n') {
        if at_start && line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        at_start = line.ends_with(b"\n");
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_where_a_line_begins() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"a\r\n.b\r\n..\r\nc.d\r\n", b"a\r\n..b\r\n...\r\nc.d\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"", b"\r\n.\r\n"),
            (b"a\r\n.\r\nQUIT\r\n", b"a\r\n..\r\nQUIT\r\n.\r\n"),
            (b"a\n.\n", b"a\n..\n\r\n.\r\n"),
        ];
        for (mail, expected) in cases {
            assert_eq!(stuffed(mail), expected, "{}", String::from_utf8_lossy(mail));
        }
    }

    #[test]
    fn what_a_server_offers_is_read_in_every_spelling() {
        let of = |lines: &[&str]| {
            Offers::of(&Answer { code: 250, lines: lines.iter().map(|l| (*l).to_owned()).collect() })
        };
        let all = of(&["STARTTLS", "size 1000", "Pipelining", "AUTH=LOGIN", "AUTH plain", "starttls"]);
        let expected =
            Offers { starttls: true, pipelining: true, size: Some(1_000), plain: true, login: true };
        assert_eq!(all, expected);
        assert_eq!(of(&["STARTTLS"]), Offers::default(), "the first line is its name");
        assert_eq!(of(&["x", "SIZE"]).size, Some(0));
    }
}
