//! A subscription's chain of plugins: what one link forwards is what the next is given.
//!
//! It must not know threads or queues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::breaker::{Admit, BreakerConfig, Breakers, Key};
use super::call::{Program, call};
use super::links::PageLinks;
use super::log::cut;
use super::outcome::{Content, Fault, LogLine, Outcome};
use super::v1::Verdict;
use super::verdict::Rules;
use crate::carrier::{DestinationKind, OnFault, PluginRef};
use crate::clock::{Clock, Stopwatch};
use crate::event::{CarrierId, DestinationName, Event, SubscriptionId, TableName};

/// Bytes of the reason of a `drop`.
const REASON: usize = 2 << 10;

/// What a subscription runs its events through, as it stands at one moment. Made once for each change, then shared.
#[derive(Debug)]
pub struct Chain {
    /// Whose subscription it is.
    pub carrier: CarrierId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The plugins, in order.
    pub links: Vec<Link>,
    /// What `settings` gives.
    pub settings: Arc<BTreeMap<String, String>>,
    /// What `tables` gives.
    pub tables: Arc<BTreeMap<TableName, Arc<BTreeMap<String, String>>>>,
    /// What `links` gives.
    pub pages: Arc<dyn PageLinks>,
    /// The destinations that a plugin may name.
    pub destinations: Arc<[(DestinationName, DestinationKind)]>,
    /// What happens while a version rests.
    pub on_fault: OnFault,
}

/// One plugin of a chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// The plugin.
    pub plugin: PluginRef,
    /// Its active version.
    pub version: i64,
    /// That version, ready to run.
    pub program: Arc<Program>,
    /// The version that was active before, for [`OnFault::Previous`].
    pub previous: Option<(i64, Arc<Program>)>,
}

/// What a run of a chain came to.
#[derive(Debug)]
pub struct Ran {
    /// The outcome, or why there is none.
    pub result: Result<Outcome, Fault>,
    /// The plugin and version that the fault or the verdict came from; none when no plugin was asked.
    pub by: Option<(PluginRef, i64)>,
    /// What ran, in order. It includes the one that failed.
    pub versions: Vec<(PluginRef, i64)>,
    /// Wall time of all calls, instantiation included.
    pub cost: Duration,
    /// What the plugins wrote.
    pub log: Vec<LogLine>,
    /// Lines that found no room in the log.
    pub log_dropped: u32,
}

impl Ran {
    /// The answer to a run that the host could not do.
    pub(super) fn host(why: &str) -> Self {
        Self {
            result: Err(Fault::Host(why.to_owned())),
            by: None,
            versions: Vec::new(),
            cost: Duration::ZERO,
            log: Vec::new(),
            log_dropped: 0,
        }
    }
}

/// The breakers as the threads share them.
#[derive(Debug)]
pub(super) struct Shared {
    breakers: Mutex<Breakers>,
    /// Whether any version has failed of late; spares the lock on the usual way.
    any: AtomicBool,
    clock: Clock,
}

impl Shared {
    pub(super) fn new(config: BreakerConfig, clock: Clock) -> Self {
        Self { breakers: Mutex::new(Breakers::new(config)), any: AtomicBool::new(false), clock }
    }

    /// Breakers of which none is open, for runs that do not count.
    pub(super) fn apart(&self) -> Self {
        let never = BreakerConfig { faults: u32::MAX, window: Duration::ZERO, rest: Duration::ZERO };
        Self::new(never, self.clock.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Breakers) -> T) -> T {
        // A panic cannot leave it half changed in a way that matters: the worst is a fault not counted.
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut breakers);
        self.any.store(!breakers.is_empty(), Ordering::Release);
        result
    }

    fn admit(&self, key: &Key) -> Admit {
        if !self.any.load(Ordering::Acquire) {
            return Admit::Run;
        }
        self.with(|b| b.admit(key, self.clock.now()))
    }

    fn record(&self, key: &Key, fault: Option<&Fault>) {
        match fault {
            Some(fault) if fault.blames_the_version() => {
                let opened = self.with(|b| b.bad(key, self.clock.now(), &fault.to_string()));
                if opened {
                    let (carrier, plugin, version) = key;
                    tracing::warn!(%carrier, %plugin, version, %fault, "too many faults: the version rests");
                }
            }
            // The host's faults say nothing about the version, and what it refuses itself is its right.
            Some(Fault::Host(_)) => {}
            _ if self.any.load(Ordering::Acquire) => self.with(|b| b.good(key)),
            _ => {}
        }
    }
}

/// Runs the chain on an event. The engine's epoch must be moving.
pub(super) fn run(chain: &Arc<Chain>, event: &Event, shared: &Shared) -> Ran {
    let mut ran = Ran::host("");
    let watch = Stopwatch::start();
    ran.result = links(chain, event, shared, &mut ran);
    ran.cost = watch.elapsed();
    ran
}

fn links(chain: &Arc<Chain>, event: &Event, shared: &Shared, ran: &mut Ran) -> Result<Outcome, Fault> {
    // What the next link is given when it is not the event's own payload.
    let mut given: Option<Bytes> = None;
    let mut content = Content::Original;
    for (at, link) in chain.links.iter().enumerate() {
        let key = |version| (chain.carrier.clone(), link.plugin.clone(), version);
        let mut now = (link.version, &link.program);
        ran.by = Some((link.plugin.clone(), now.0));
        if let Admit::Rest(reason) = shared.admit(&key(now.0)) {
            let open = || Fault::BreakerOpen {
                plugin: link.plugin.clone(),
                version: link.version,
                reason: reason.clone(),
            };
            match (chain.on_fault, &link.previous) {
                (OnFault::Previous, Some((version, program)))
                    if shared.admit(&key(*version)) == Admit::Run =>
                {
                    now = (*version, program);
                }
                (OnFault::Hold | OnFault::Previous, _) => return Err(open()),
                (OnFault::Forward, _) => continue,
                (OnFault::Drop, _) => return Ok(Outcome::Drop(cut(&open().to_string(), REASON).to_owned())),
            }
        }
        let (version, program) = now;
        ran.by = Some((link.plugin.clone(), version));
        ran.versions.push((link.plugin.clone(), version));
        let called = call(program, chain, event, given.as_ref().unwrap_or(&event.payload));
        ran.log_dropped = ran.log_dropped.saturating_add(called.log.dropped);
        ran.log.extend(called.log.lines.into_iter().map(|(level, message)| LogLine {
            plugin: link.plugin.clone(),
            level,
            message,
        }));
        let rules = Rules {
            granted: &chain.destinations,
            limits: &program.limits,
            received: event.received,
            given: given.as_ref(),
        };
        let last = at + 1 == chain.links.len();
        let step = called.result.and_then(|verdict| judge(&rules, verdict, last));
        shared.record(&key(version), step.as_ref().err());
        match step? {
            Step::End(outcome) => return Ok(outcome),
            Step::On(Content::Bytes(bytes)) => {
                given = Some(bytes.clone());
                content = Content::Bytes(bytes);
            }
            Step::On(other) => content = other,
        }
    }
    Ok(Outcome::Forward(content))
}

enum Step {
    End(Outcome),
    On(Content),
}

fn judge(rules: &Rules<'_>, verdict: Verdict, last: bool) -> Result<Step, Fault> {
    match verdict {
        Verdict::Drop(reason) => Ok(Step::End(Outcome::Drop(cut(&reason, REASON).to_owned()))),
        Verdict::Deliver(list) => Ok(Step::End(Outcome::Deliver(rules.deliveries(list)?))),
        Verdict::Forward(content) => {
            let content = rules.forward(content)?;
            if !last {
                match &content {
                    // A payload is promised to be UTF-8 JSON, whoever it comes from.
                    Content::Bytes(bytes) if rules.given != Some(bytes) => json(bytes)?,
                    Content::Bytes(_) | Content::Original => {}
                    Content::Fetch(_) => {
                        return Err(Fault::Rejected(
                            "`fetch` was forwarded to the next plugin of the chain, which takes JSON: only the \
                             last plugin may forward a fetch"
                                .to_owned(),
                        ));
                    }
                }
            }
            Ok(Step::On(content))
        }
    }
}

fn json(bytes: &[u8]) -> Result<(), Fault> {
    let not = |why: String| {
        Fault::Rejected(format!(
            "what was forwarded to the next plugin of the chain is not UTF-8 JSON: {why}"
        ))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| not(error.to_string()))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| not(error.to_string()))?;
    Ok(())
}
