//! The door to trials.

use futures_util::future::BoxFuture;

use super::Doors;
use crate::api::state::{Rehearsal, TestError, TestOutcome, Tester};
use crate::carrier::{Destination, Subscription};
use crate::deliver::Report;
use crate::event::Event;

impl Tester for Doors {
    fn test(&self, destination: Destination, event: Event) -> BoxFuture<'_, Result<TestOutcome, TestError>> {
        Box::pin(async move {
            let _permit = self.tests.try_acquire().map_err(|_| TestError::Busy)?;
            let tried = self.router.try_out(&destination, event, self.clock.now()).await;
            tried.map(TestOutcome::from).map_err(TestError::Host)
        })
    }

    fn rehearse(
        &self,
        subscription: Subscription,
        event: Event,
        send: bool,
    ) -> BoxFuture<'_, Result<Rehearsal, TestError>> {
        Box::pin(async move {
            let _permit = self.tests.try_acquire().map_err(|_| TestError::Busy)?;
            let trial = self.router.try_subscription(&subscription, event, send).await;
            let trial = trial.map_err(|why| TestError::Host(why.to_string()))?;
            Ok(Rehearsal {
                meets: trial.meets,
                unmet: trial.unmet,
                routing: trial.routing,
                attempts: trial.reports.into_iter().map(|report| report.map(TestOutcome::from)).collect(),
            })
        })
    }
}

impl From<Report> for TestOutcome {
    fn from(report: Report) -> Self {
        Self {
            outcome: report.kind.to_owned(),
            status: report.status,
            duration_us: report.duration_us,
            error: report.error,
            request: report.request,
            response_headers: report.response_headers,
            response_body: report.response_body.map(|body| String::from_utf8_lossy(&body).into_owned()),
        }
    }
}
