//! Steps 6 and 7: one attempt at a delivery, what follows from it, and its record.

use std::sync::Arc;

use super::Router;
use super::directory::Place;
use super::route::DATABASE_PAUSE;
use crate::carrier::Destination;
use crate::clock::{Millis, random_bytes};
use crate::deliver::{Permit, Report};
use crate::event::{Event, SubscriptionId, time_ordered};
use crate::name::NameError;
use crate::retry::{self, Decision, Outcome, Policy};
use crate::store::error::{HeldError, StoreError};
use crate::store::work::{Body, DestinationEffect, HeldDelivery, Lane, Message, NewAttempt, Next};
use crate::telemetry::Kind;

impl Router {
    /// Attempts a delivery that this node holds. `permit` is the lane's leave to send; it is given back as soon as the
    /// answer is there, so that the record's commit does not slow the lane down.
    pub(super) async fn send(&self, delivery: HeldDelivery, permit: Permit) {
        let lane =
            Lane { carrier: delivery.event.carrier.clone(), destination: delivery.destination.clone() };
        let place = self.directory.place(&lane);
        if place.as_ref().is_some_and(|p| !p.is_enabled()) {
            // It was disabled while this waited in memory.
            drop(permit);
            if let Err(why) = self.store.hold_delivery(&lane.carrier, &delivery.id).await {
                tracing::error!(carrier = %lane.carrier, delivery = %delivery.id, %why,
                    "a delivery to a disabled destination could not be put aside");
            }
            return;
        }
        let policy = self.policy(&delivery);
        let now = self.clock.now();
        self.metrics.attempt_lateness_seconds.observe(now.since(delivery.due).as_secs_f64());
        let report = match place.as_deref().map(|p| &p.target) {
            Some(Ok(target)) => self.sender.attempt(target, &delivery, policy.timeout, now).await,
            Some(Err(why)) => unavailable(now, why.clone()),
            None => unavailable(now, format!("there is no destination `{}`", delivery.destination)),
        };
        drop(permit);
        let number = delivery.attempts + 1;
        let decision =
            retry::decide(&policy, number, &report.outcome, self.clock.now(), crate::clock::jitter());
        self.write(delivery, lane, place, number, report, &decision);
    }

    /// Sends an event to a destination once, as `forward` would: nothing is recorded.
    ///
    /// # Errors
    /// When the destination as it is kept cannot be used.
    pub async fn try_out(
        &self,
        destination: &Destination,
        event: Event,
        now: Millis,
    ) -> Result<Report, String> {
        let target = self.directory.compile(destination)?;
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

    fn policy(&self, delivery: &HeldDelivery) -> Arc<Policy> {
        let view = self.directory.carrier(&delivery.event.carrier);
        // A delivery outlives its subscription; it is then retried by the default profile.
        view.and_then(|view| {
            view.standing.iter().find(|s| s.id == delivery.subscription).map(|s| s.policy.clone())
        })
        .unwrap_or_default()
    }

    fn write(
        &self,
        delivery: HeldDelivery,
        lane: Lane,
        place: Option<Arc<Place>>,
        number: u32,
        report: Report,
        decision: &Decision,
    ) {
        let effect = place
            .and_then(|place| effect(&place, &report.outcome, self.clock.now()))
            .map(|effect| (lane.destination.clone(), effect));
        let (next, ended) = match decision {
            Decision::Delivered => (Next::Delivered, Some("delivered")),
            Decision::RetryAt(at) => (Next::RetryAt(*at), None),
            Decision::Dead(_) => (Next::Dead, Some("dead")),
            Decision::Failed(_) => (Next::Failed, Some("failed")),
            Decision::Disable(_) => (Next::Held, None),
        };
        self.metrics.attempts.get_or_create(&Kind { kind: report.kind }).inc();
        self.metrics.attempt_seconds.observe(report.duration_us as f64 / 1e6);
        if let Some(kind) = ended {
            self.metrics.deliveries_ended.get_or_create(&Kind { kind }).inc();
        }
        tracing::debug!(carrier = %lane.carrier, event = %delivery.event.id, delivery = %delivery.id,
            destination = %lane.destination, attempt = number, outcome = report.kind, status = report.status,
            duration_us = report.duration_us, ?next, "attempt");
        let attempt = NewAttempt {
            carrier: lane.carrier.clone(),
            delivery: delivery.id,
            number,
            started: report.started,
            duration_us: report.duration_us,
            outcome: report.kind,
            status: report.status,
            error: report.error,
            request: report.request,
            response_headers: report.response_headers,
            response_body: report.response_body,
            next,
            destination: effect,
        };
        self.record(Arc::new(attempt), lane);
    }

    /// Step 7. What the database does not take is recorded again in a moment: the attempt was made.
    fn record(&self, attempt: Arc<NewAttempt>, lane: Lane) {
        let router = self.clone();
        let kept = attempt.clone();
        self.store.record(
            attempt,
            Box::new(move |recorded| match recorded {
                Ok(()) => {
                    if let Next::RetryAt(at) = kept.next {
                        router.timers.lane_due(lane, at);
                    }
                }
                Err(HeldError::Lost) => tracing::warn!(carrier = %lane.carrier, delivery = %kept.delivery,
                    "this delivery is not this node's any more; the attempt was made but is not in its log"),
                Err(HeldError::Store(StoreError::Closed)) => {}
                Err(HeldError::Store(why)) => {
                    tracing::warn!(carrier = %lane.carrier, delivery = %kept.delivery, %why,
                        "an attempt could not be recorded; trying again in a moment");
                    let again = router.clone();
                    router.life.tracker().spawn(async move {
                        tokio::select! {
                            () = again.life.hard().cancelled() => {}
                            () = again.clock.sleep(DATABASE_PAUSE) => again.record(kept, lane),
                        }
                    });
                }
            }),
        );
    }
}

/// What an attempt that ended now means for its destination. Of many attempts that end together, one brings the change.
fn effect(place: &Place, outcome: &Outcome, now: Millis) -> Option<DestinationEffect> {
    let effect = retry::health(place.failing_since(), outcome, now)?;
    let first = match &effect {
        DestinationEffect::FailingSince(at) => place.failed(*at),
        DestinationEffect::Recovered => place.succeeded(),
        DestinationEffect::Disable(_) => {
            place.stop();
            true
        }
    };
    first.then_some(effect)
}

/// An attempt that could not even be built.
fn unavailable(now: Millis, why: String) -> Report {
    let outcome = Outcome::Unavailable(why.clone().into());
    Report {
        started: now,
        duration_us: 0,
        kind: outcome.kind(),
        outcome,
        status: None,
        error: Some(why),
        request: "{}".to_owned(),
        response_headers: None,
        response_body: None,
    }
}
