//! A component's trial by its examples: each is run, judged and printed.
//!
//! It must not know where component and examples come from, nor how a plugin runs: the runtime does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hookyard_sdk::testing::{Example, NO_LINKS, Outcome as Expected, SURVEY_LINK};

use super::answer;
use super::diff;
use crate::carrier::{DestinationKind, Limits, OnFault};
use crate::clock::Millis;
use crate::event::{DestinationName, Event};
use crate::plugin::{Chain, Content, Fault, Link, Linked, Outcome, PageLinks, Program, Ran, Run, Runtime};

/// Runs of each example: the first shows the answer, the cost is the median of all.
const RUNS: usize = 9;

/// Above this share of a limit, in percent, there is a warning: real events are larger than examples, and a host is
/// busier than the author's machine.
const NEAR: u64 = 70;

/// Characters of a reason beside its example.
const BRIEF: usize = 60;

/// A destination that a plugin may name.
pub(super) type Grant = (DestinationName, DestinationKind);

/// An example file's name and text.
pub(super) type File = (String, String);

/// What the examples share.
pub(super) struct Trial {
    pub(super) runtime: Runtime,
    pub(super) program: Arc<Program>,
    /// Destinations that the plugin may name, besides those that the examples expect.
    pub(super) granted: Vec<Grant>,
}

/// The links that an example's plugin gets, if it gets any: those of the SDK's own tests.
#[derive(Debug)]
struct TestLinks(bool);

impl PageLinks for TestLinks {
    fn survey(&self, _: Linked<'_>) -> Result<String, String> {
        if self.0 { Ok(SURVEY_LINK.to_owned()) } else { Err(NO_LINKS.to_owned()) }
    }
}

/// One example's result.
#[derive(Debug)]
struct Judged {
    /// The answer in a few words.
    verdict: String,
    cost: Duration,
    /// Why it failed: lines for people.
    wrong: Option<Vec<String>>,
    /// What to look at although it passed.
    warnings: Vec<String>,
    log: Vec<String>,
}

impl Trial {
    /// Runs and prints every example; gives whether all passed.
    ///
    /// # Errors
    /// When the runtime takes no runs.
    pub(super) async fn run(&self, files: &[File]) -> anyhow::Result<bool> {
        let examples: Vec<_> = files.iter().map(|(name, text)| (name, Example::parse(text))).collect();
        let parsed = examples.iter().filter_map(|(_, example)| example.as_ref().ok());
        // One subscription would grant them all, so that an answer to the wrong destination is shown as such.
        let named: Vec<_> = parsed.flat_map(|e| answer::destinations(e.expect.as_ref())).collect();
        let widest = examples.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut failed = 0;
        for (name, example) in &examples {
            let judged = match example {
                Ok(example) => self.judge(example, &named).await,
                Err(error) => Err(anyhow!("this is no example file: {error}")),
            };
            failed += usize::from(!print(name, widest, judged));
        }
        println!("\n{} examples: {} passed, {failed} failed", files.len(), files.len() - failed);
        Ok(failed == 0)
    }

    async fn judge(&self, example: &Example, named: &[(String, DestinationKind)]) -> anyhow::Result<Judged> {
        let event = Arc::new(event(example)?);
        let chain = Arc::new(self.chain(example, named)?);
        let mut ran = self.once(&event, &chain).await?;
        if matches!(ran.result, Err(Fault::Deadline { .. })) {
            // As the host does: the machine may have been busy with something else.
            ran = self.once(&event, &chain).await?;
        }
        let mut costs = vec![ran.cost];
        if !matches!(ran.result, Err(Fault::Deadline { .. })) {
            for _ in 1..RUNS {
                costs.push(self.once(&event, &chain).await?.cost);
            }
        }
        costs.sort();
        let cost = costs[costs.len() / 2];
        let limits = self.program.limits();
        Ok(Judged {
            verdict: brief(&ran.result),
            cost,
            wrong: compare(example, &ran.result),
            warnings: near(limits, cost, &ran),
            log: ran.log.iter().map(|line| format!("{:<5} {}", line.level.as_str(), line.message)).collect(),
        })
    }

    async fn once(&self, event: &Arc<Event>, chain: &Arc<Chain>) -> anyhow::Result<Ran> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let done = Box::new(move |ran| {
            // Nobody listens any more only when the command has been given up.
            let _ = answer.send(ran);
        });
        let run = Run { event: event.clone(), chain: chain.clone(), done };
        self.runtime.submit(run).map_err(|_| anyhow!("the runtime takes no runs"))?;
        Ok(answered.await?)
    }

    fn chain(&self, example: &Example, named: &[(String, DestinationKind)]) -> anyhow::Result<Chain> {
        let own = answer::destinations(example.expect.as_ref());
        let mut granted: Vec<Grant> = Vec::new();
        let grants = own.iter().chain(named).map(|(name, kind)| Ok((name.parse()?, *kind)));
        for grant in grants.collect::<anyhow::Result<Vec<Grant>>>()?.into_iter().chain(self.granted.clone()) {
            if granted.iter().all(|(name, _)| *name != grant.0) {
                granted.push(grant);
            }
        }
        let mut tables = BTreeMap::new();
        for (name, rows) in &example.tables {
            tables.insert(name.parse()?, Arc::new(rows.clone()));
        }
        Ok(Chain {
            carrier: "test".parse()?,
            subscription: "test".parse()?,
            links: vec![Link {
                plugin: "plugin".parse()?,
                version: 1,
                program: self.program.clone(),
                previous: None,
            }],
            settings: Arc::new(example.settings.clone()),
            tables: Arc::new(tables),
            pages: Arc::new(TestLinks(example.links)),
            destinations: granted.into(),
            on_fault: OnFault::Hold,
        })
    }
}

/// The example's event as the host would have it.
fn event(example: &Example) -> anyhow::Result<Event> {
    let event = &example.event;
    Ok(Event {
        carrier: "test".parse()?,
        id: event.id.parse()?,
        event_type: event.event_type.parse()?,
        received: Millis(i64::try_from(event.received_ms).context("received_ms is too large")?),
        attributes: event.attributes.clone().into(),
        payload: event.payload.clone().into(),
    })
}

/// Why the answer is not the expected one; `None` when it is.
fn compare(example: &Example, result: &Result<Outcome, Fault>) -> Option<Vec<String>> {
    let mut expecting = example.clone();
    expecting.expect = expecting.expect.map(answer::as_the_host_has_it);
    let Some(got) = answer::written(result) else {
        // No example can expect a trap or a limit: what it did expect does not help to understand it.
        return Some(vec![result.as_ref().err().map(ToString::to_string).unwrap_or_default()]);
    };
    let mismatch = expecting.check(&got).err()?;
    let mut lines = match expecting.expect {
        Some(_) => {
            let mut lines = vec!["expected (-) and got (+):".to_owned()];
            lines.extend(diff::lines(&mismatch.expected, &mismatch.got));
            lines
        }
        None => vec![format!("expected {}, got:", mismatch.expected), mismatch.got],
    };
    if matches!(&got, Expected::Rejected(why) if why.contains("is not granted")) {
        lines.push(
            "granted are the destinations that the examples expect, and those of --destination NAME=KIND"
                .to_owned(),
        );
    }
    Some(lines)
}

/// The answer in a few words.
fn brief(result: &Result<Outcome, Fault>) -> String {
    match result {
        Ok(Outcome::Drop(reason)) => format!("drop: {}", begin(reason)),
        Ok(Outcome::Forward(Content::Original)) => "forward the original".to_owned(),
        Ok(Outcome::Forward(Content::Bytes(bytes))) => format!("forward {} bytes", bytes.len()),
        Ok(Outcome::Forward(Content::Fetch(url))) => format!("forward what is at {}", begin(url)),
        Ok(Outcome::Deliver(list)) => {
            let names: Vec<&str> = list.iter().map(|d| d.send.destination().as_str()).collect();
            format!("deliver to {}", if names.is_empty() { "nobody".to_owned() } else { names.join(", ") })
        }
        Err(Fault::Rejected(reason)) => format!("rejected: {}", begin(reason)),
        Err(Fault::Temporary(reason)) => format!("temporary: {}", begin(reason)),
        Err(fault) => fault.kind().to_owned(),
    }
}

/// The first line of a text, as far as it fits beside the rest.
fn begin(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(BRIEF).collect();
    if short.len() < text.len() {
        short.push_str(" ...");
    }
    short
}

/// What comes near a limit.
fn near(limits: &Limits, cost: Duration, ran: &Ran) -> Vec<String> {
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut warnings = Vec::new();
    let mut warn = |what: &str, used: u64, allowed: u64, unit: &str, limit: &str| {
        if u128::from(used) * 100 > u128::from(allowed) * u128::from(NEAR) {
            warnings.push(format!("{what} {used} of the {allowed} {unit} that limit {limit} allows"));
        }
    };
    warn("it took", us(cost), us(limits.wall), "µs", "wall_ms");
    if let Ok(outcome) = &ran.result {
        warn("it gave", answer::output_bytes(outcome), limits.output_bytes, "bytes", "output_bytes");
        if let Outcome::Deliver(list) = outcome {
            warn("it gave", list.len() as u64, limits.deliveries.into(), "deliveries", "deliveries");
        }
    }
    if ran.log_dropped > 0 {
        warnings.push(format!(
            "{} lines of log found no room: limits log_lines ({}) and log_bytes ({})",
            ran.log_dropped, limits.log_lines, limits.log_bytes
        ));
    }
    warnings
}

/// Prints one example; gives whether it passed.
fn print(name: &str, widest: usize, judged: anyhow::Result<Judged>) -> bool {
    let judged = match judged {
        Ok(judged) => judged,
        Err(error) => {
            println!("FAIL  {name}\n        {error:#}");
            return false;
        }
    };
    let (passed, cost) = (judged.wrong.is_none(), judged.cost.as_micros());
    println!("{}  {name:<widest$}  {cost:>6} µs  {}", if passed { "ok  " } else { "FAIL" }, judged.verdict);
    let warnings = judged.warnings.iter().map(|w| format!("warning: {w}"));
    let log = judged.log.iter().map(|line| format!("log {line}"));
    for text in judged.wrong.into_iter().flatten().chain(warnings).chain(log) {
        for line in text.lines() {
            println!("        {line}");
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugin::TrapKind;

    fn example(expect: &Value) -> Example {
        let mut file = json!({"type": "case.closed", "payload": {"a": 1}});
        if !expect.is_null() {
            file["expect"] = expect.clone();
        }
        Example::parse(&file.to_string()).unwrap()
    }

    #[test]
    fn an_example_becomes_the_event_that_the_host_would_have() {
        let text = r#"{"type": "case.closed", "id": "e-1", "received_ms": 7, "payload": {"b":  1},
                       "attributes": {"subject": "s", "source": "/x"}}"#;
        let event = event(&Example::parse(text).unwrap()).unwrap();
        assert_eq!((event.id.as_str(), event.received), ("e-1", Millis(7)));
        assert_eq!(event.attribute("source"), Some("/x"));
        assert_eq!(event.payload, &br#"{"b":  1}"#[..]);
        let bad = Example::parse(r#"{"type": "case..closed", "payload": 1}"#).unwrap();
        assert!(super::event(&bad).unwrap_err().to_string().contains("case..closed"));
    }

    #[test]
    fn a_wrong_answer_is_shown_as_a_difference() {
        let expecting = example(&json!({"drop": "closed"}));
        assert_eq!(compare(&expecting, &Ok(Outcome::Drop("closed".to_owned()))), None);
        let lines = compare(&expecting, &Ok(Outcome::Drop("open".to_owned()))).unwrap();
        assert_eq!(
            lines,
            ["expected (-) and got (+):", "  {", "-   \"drop\": \"closed\"", "+   \"drop\": \"open\"", "  }"]
        );
    }

    #[test]
    fn without_an_expectation_any_verdict_is_right_and_no_failure_is() {
        let any = example(&Value::Null);
        assert_eq!(compare(&any, &Ok(Outcome::Forward(Content::Original))), None);
        let lines = compare(&any, &Err(Fault::Rejected("no".to_owned()))).unwrap();
        assert_eq!(lines[0], "expected any verdict, got:");
    }

    #[test]
    fn a_trap_is_never_what_an_example_expects() {
        let trapped = || Err(Fault::Trapped { what: TrapKind::Panic, message: "at lib.rs:3".to_owned() });
        for expect in [Value::Null, json!({"rejected": "at lib.rs:3"})] {
            let lines = compare(&example(&expect), &trapped()).unwrap();
            assert_eq!(lines, ["the plugin trapped (panic): at lib.rs:3"]);
        }
    }

    #[test]
    fn a_destination_that_is_not_granted_is_explained() {
        let fault = Fault::Rejected("delivery 0: destination \"x\" is not granted: add it".to_owned());
        let lines = compare(&example(&json!({"drop": "closed"})), &Err(fault)).unwrap();
        assert!(lines.last().unwrap().contains("--destination NAME=KIND"), "{lines:?}");
    }

    #[test]
    fn what_comes_near_a_limit_is_said_with_its_name() {
        let ran = |bytes: usize, log_dropped| Ran {
            result: Ok(Outcome::Forward(Content::Bytes(Bytes::from(vec![b'1'; bytes])))),
            by: None,
            versions: Vec::new(),
            cost: Duration::ZERO,
            log: Vec::new(),
            log_dropped,
        };
        let limits = Limits { wall: Duration::from_millis(10), output_bytes: 100, ..Limits::default() };
        let ms = Duration::from_millis;
        assert!(near(&limits, ms(7), &ran(70, 0)).is_empty());
        let slow = near(&limits, ms(8), &ran(70, 0));
        assert_eq!(slow, ["it took 8000 of the 10000 µs that limit wall_ms allows"]);
        let large = near(&limits, ms(1), &ran(71, 3));
        assert_eq!(large[0], "it gave 71 of the 100 bytes that limit output_bytes allows");
        assert!(large[1].starts_with("3 lines of log found no room"), "{large:?}");
    }
}
