//! Trials: what a subscription makes of an event, and single attempts at destinations, beside the way of an event.
//!
//! Nothing is recorded or counted, and nobody's state changes: no lane is used, no breaker asked, no destination's health
//! noted.

use std::sync::Arc;
use std::time::Duration;

use super::directory::Plugins;
use super::route::deliveries;
use super::{Router, conclude, digests};
use crate::carrier::{Destination, Subscription};
use crate::clock::{Millis, random_bytes};
use crate::deliver::{Report, Target};
use crate::event::{Event, SubscriptionId, time_ordered};
use crate::matching::{Match, Subject};
use crate::name::NameError;
use crate::retry::Policy;
use crate::store::error::StoreError;
use crate::store::work::{Body, DeliveryState, HeldDelivery, Lane, Message, NewDelivery, NewRouting};

/// For how long a trial goes on sending, in seconds; the limit `test_seconds`.
const TEST_SECONDS: u64 = 60;

/// What a subscription made of an event.
#[derive(Debug)]
pub struct Trial {
    /// How they meet.
    pub meets: Match,
    /// The conditions of the filter that do not hold.
    pub unmet: Vec<String>,
    /// What the event's routing would be; absent when they do not match.
    pub routing: Option<NewRouting>,
    /// What came of each of the routing's deliveries, in their order; `None` where nothing was sent.
    pub reports: Vec<Option<Report>>,
}

/// Why there was no trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The subscription was written by a version of the host that allowed more.
    #[error("the subscription cannot be read: {0}")]
    Subscription(String),
    /// The plugins could not be run.
    #[error("the plugins could not be run: {0}")]
    Plugins(#[from] crate::plugin::CheckError),
}

impl Router {
    /// Takes an event through a subscription, whether that is paused or not, and, when `send` is set, makes one attempt at
    /// each delivery, one after the other.
    ///
    /// # Errors
    /// When the host itself could not try; what plugins and receivers did is in the trial.
    pub async fn try_subscription(
        &self,
        subscription: &Subscription,
        event: Event,
        send: bool,
    ) -> Result<Trial, TrialError> {
        let (order, standing) =
            self.directory.compiled(subscription).await?.map_err(TrialError::Subscription)?;
        let (meets, unmet) = {
            let subject = Subject::new(&event);
            (order.meets(&subject), order.unmet(&subject))
        };
        let mut trial = Trial { meets, unmet, routing: None, reports: Vec::new() };
        if meets != Match::Matched {
            return Ok(trial);
        }
        let now = self.clock.now();
        // Its chain is made for digests.
        let event = match &standing.schedule {
            Some(schedule) => digests::alone(schedule, &standing.id, event, now)
                .map_err(|why| TrialError::Subscription(why.to_string()))?,
            None => event,
        };
        let event = Arc::new(event);
        let ran = match standing.plugins {
            Plugins::None => conclude::untouched(),
            Plugins::Ready(chain) => self.runtime.rehearse(chain, event.clone()).await?,
            Plugins::NotReady(why) => {
                trial.routing = Some(conclude::not_ready(standing.id, why, 0));
                return Ok(trial);
            }
        };
        let view = self.directory.carrier(&event.carrier).unwrap_or_default();
        let concluded = conclude::conclude(ran, &standing.id, 0, now, || standing.destinations);
        let mut routing = concluded.routing;
        routing.deliveries = deliveries(&event, &standing.id, concluded.sends, &view.places, now);
        if send {
            trial.reports =
                self.send_each(&event, &standing.id, &standing.policy, &mut routing.deliveries).await;
        } else {
            trial.reports = routing.deliveries.iter().map(|_| None).collect();
        }
        trial.routing = Some(routing);
        Ok(trial)
    }

    /// One attempt at each delivery that could be sent now. Those that are not sent say why.
    async fn send_each(
        &self,
        event: &Arc<Event>,
        subscription: &SubscriptionId,
        policy: &Policy,
        deliveries: &mut [NewDelivery],
    ) -> Vec<Option<Report>> {
        let end = self.clock.now().plus(Duration::from_secs(TEST_SECONDS));
        let mut reports = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let lane = Lane { carrier: event.carrier.clone(), destination: delivery.destination.clone() };
            let place = self.directory.place(&lane);
            let left = end.since(self.clock.now());
            reports.push(match place.as_deref().map(|place| &place.target) {
                _ if delivery.state == DeliveryState::Dead => None,
                _ if delivery.state == DeliveryState::Held => {
                    delivery.error =
                        Some("not sent: the destination is disabled, and its deliveries are held".to_owned());
                    None
                }
                _ if left.is_zero() => {
                    delivery.error = Some(format!("not sent: the limit `test_seconds` is {TEST_SECONDS}"));
                    None
                }
                Some(Ok(target)) => {
                    let timeout = policy.timeout.min(left);
                    Some(self.one_attempt(target, event, subscription, delivery, timeout).await)
                }
                Some(Err(why)) => {
                    delivery.error = Some(why.to_string());
                    None
                }
                None => {
                    delivery.error = Some(format!("there is no destination `{}`", delivery.destination));
                    None
                }
            });
        }
        reports
    }

    async fn one_attempt(
        &self,
        target: &Target,
        event: &Arc<Event>,
        subscription: &SubscriptionId,
        delivery: &NewDelivery,
        timeout: Duration,
    ) -> Report {
        let now = self.clock.now();
        let held = HeldDelivery {
            id: delivery.id.clone(),
            event: event.clone(),
            subscription: subscription.clone(),
            destination: delivery.destination.clone(),
            message: delivery.message.clone(),
            body: delivery.body.clone(),
            attempts: 0,
            due: now,
        };
        let report = self.sender.attempt(target, &held, timeout, now).await;
        self.forget_media(&event.carrier, &held.id);
        report
    }

    /// Sends an event to a destination once, as `forward` would.
    ///
    /// # Errors
    /// When the destination as it is kept cannot be used.
    pub async fn try_out(
        &self,
        destination: &Destination,
        event: Event,
        now: Millis,
    ) -> Result<Report, String> {
        let lane = Lane { carrier: destination.carrier.clone(), destination: destination.name.clone() };
        // As it is sent to: with what its webhook or its receiver's permission adds.
        let target = match self.directory.place(&lane) {
            Some(place) => place.target.clone(),
            None => self.directory.compile(destination),
        };
        let target = target.map_err(|why| why.to_string())?;
        let subscription: SubscriptionId = "test".parse().map_err(|e: NameError| e.to_string())?;
        let delivery = HeldDelivery {
            id: time_ordered(now, random_bytes()).into(),
            event: Arc::new(event),
            subscription,
            destination: destination.name.clone(),
            message: Message::forwarded(),
            body: Body::Original,
            attempts: 0,
            due: now,
        };
        Ok(self.sender.attempt(&target, &delivery, Policy::default().timeout, now).await)
    }
}
