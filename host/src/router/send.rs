//! Steps 6 and 7: one attempt at a delivery, what follows from it, and its record.

use std::sync::Arc;

use super::Router;
use super::directory::Place;
use super::route::DATABASE_PAUSE;
use crate::carrier::Destination;
use crate::carrier::handshake::{HandshakeSpec, Reply};
use crate::clock::Millis;
use crate::deliver::{Permit, Report};
use crate::retry::{self, Decision, Health, Outcome, Policy};
use crate::store::error::{HeldError, StoreError};
use crate::store::work::{DestinationEffect, HeldDelivery, Lane, NewAttempt, Next};
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
        if let Some(why) = place.as_ref().and_then(|p| p.locked()) {
            drop(permit);
            self.put_back(delivery, lane, why.to_string()).await;
            return;
        }
        let policy = self.policy(&delivery);
        let now = self.clock.now();
        self.metrics.attempt_lateness_seconds.observe(now.since(delivery.due).as_secs_f64());
        let report = match place.as_deref().map(|p| &p.target) {
            Some(Ok(target)) => match policy.permits(target.address()) {
                Ok(()) => self.sender.attempt(target, &delivery, policy.timeout, now).await,
                Err(why) => unavailable(now, why.to_string()),
            },
            Some(Err(why)) => unavailable(now, why.to_string()),
            None => unavailable(now, format!("there is no destination `{}`", delivery.destination)),
        };
        drop(permit);
        let number = delivery.attempts + 1;
        let decision =
            retry::decide(&policy, number, &report.outcome, self.clock.now(), crate::clock::jitter());
        self.write(delivery, lane, place, number, report, &decision);
    }

    /// Gives back a delivery that this node cannot make, without an attempt: a node that has the key may take it at once,
    /// and this one looks again.
    async fn put_back(&self, delivery: HeldDelivery, lane: Lane, why: String) {
        let due = self.clock.now();
        if let Err(why) = self.store.put_back_delivery(&lane.carrier, &delivery.id, due, why).await {
            tracing::error!(carrier = %lane.carrier, delivery = %delivery.id, %why,
                "a delivery whose destination's secrets cannot be opened could not be given back");
        }
    }

    /// Asks a destination's receiver for its permission.
    pub async fn ask(
        &self,
        destination: &Destination,
        spec: &HandshakeSpec,
        callback: Option<&str>,
    ) -> Reply {
        match self.directory.compile(destination) {
            Ok(target) => self.sender.ask(&target, spec, callback).await,
            Err(why) => Reply::Withheld { why: format!("it was not asked: {why}") },
        }
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
        let health = place.and_then(|place| health_of(&place, &report.outcome, self.clock.now()));
        let (effect, unfit) = match health {
            Some(Health::FailingSince(at)) => (Some(DestinationEffect::FailingSince(at)), None),
            Some(Health::Recovered) => (Some(DestinationEffect::Recovered), None),
            Some(Health::Unfit(why)) => (None, Some(why)),
            None => (None, None),
        };
        let effect = effect.map(|effect| (lane.destination.clone(), effect));
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
        match unfit {
            None => self.record(Arc::new(attempt), lane),
            Some(why) => self.disable(Arc::new(attempt), lane, why),
        }
    }

    /// Disables the destination of an attempt that showed it unfit, with the event that tells its carrier, and then records
    /// the attempt. What the database does not take is tried again in a moment.
    fn disable(&self, attempt: Arc<NewAttempt>, lane: Lane, why: String) {
        let router = self.clone();
        self.life.tracker().spawn(async move {
            loop {
                match router.store.disable_destination(&lane.destination, &why, &attempt).await {
                    Ok(true) => {
                        tracing::warn!(carrier = %lane.carrier, destination = %lane.destination, %why,
                            "a destination is disabled, and its carrier told");
                        break;
                    }
                    Ok(false) => break,
                    Err(StoreError::Closed) => return,
                    Err(why) => {
                        tracing::warn!(carrier = %lane.carrier, destination = %lane.destination, %why,
                            "a destination could not be disabled; trying again in a moment");
                    }
                }
                tokio::select! {
                    () = router.life.hard().cancelled() => return,
                    () = router.clock.sleep(DATABASE_PAUSE) => {}
                }
            }
            router.record(attempt, lane);
        });
    }

    /// Step 7. What the database does not take is recorded again in a moment: the attempt was made.
    fn record(&self, attempt: Arc<NewAttempt>, lane: Lane) {
        let router = self.clone();
        let kept = attempt.clone();
        self.store.record(
            attempt,
            Box::new(move |recorded| match recorded {
                Ok(()) => match kept.next {
                    Next::RetryAt(at) => router.timers.lane_due(lane, at),
                    Next::Delivered | Next::Dead => router.forget_media(&kept.carrier, &kept.delivery),
                    // They may be sent yet, so what they carry is kept.
                    Next::Held | Next::Failed => {}
                },
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
fn health_of(place: &Place, outcome: &Outcome, now: Millis) -> Option<Health> {
    let health = retry::health(place.failing_since(), outcome, now)?;
    let first = match &health {
        Health::FailingSince(at) => place.failed(*at),
        Health::Recovered => place.succeeded(),
        Health::Unfit(_) => {
            place.stop();
            true
        }
    };
    first.then_some(health)
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
