//! What deliveries carry that is fetched: begun when they are planned, waited for before their turn, removed at their end.

use std::time::Duration;

use super::Router;
use crate::clock::Millis;
use crate::deliver::{Media, Room as LaneRoom, media};
use crate::event::{CarrierId, DeliveryId, Event};
use crate::store::error::StoreError;
use crate::store::work::{DeliveryState, HeldDelivery, Lane, NewRouting};

/// How often files whose delivery has ended elsewhere, or by hand, are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// What was begun within this is left alone by it: a trial's delivery is in no table.
const YOUNG: Duration = Duration::from_secs(180);
/// How long a delivery waits in memory for its content; then it is given back, and claimed again.
const PATIENCE: Duration = Duration::from_secs(600);
/// When it is due then.
const AGAIN: Duration = Duration::from_secs(30);

/// A delivery whose content is to be fetched, as it was planned.
pub(super) struct Wanted(Vec<crate::store::work::NewDelivery>);

impl Wanted {
    /// Those of a plan that are sent sooner or later.
    pub(super) fn of(routings: &[NewRouting]) -> Self {
        let all = routings.iter().flat_map(|routing| &routing.deliveries);
        let open = |state| matches!(state, DeliveryState::Pending | DeliveryState::Held);
        let wanted = all.filter(|d| open(d.state) && media::is_fetched(&d.message, &d.body));
        Self(wanted.cloned().collect())
    }
}

impl Router {
    /// Begins to fetch, right after the plan's commit.
    pub(super) fn begin_media(&self, event: &Event, wanted: &Wanted) {
        let Some(media) = self.sender.media() else { return };
        for delivery in &wanted.0 {
            media.begin(&event.carrier, &delivery.id, &delivery.message, &delivery.body, event.received);
        }
    }

    /// Puts a delivery into its lane: at once, or when what it carries is there or cannot be had now.
    pub(super) fn push(&self, room: LaneRoom, delivery: HeldDelivery) {
        let media = self.sender.media().filter(|_| media::is_fetched(&delivery.message, &delivery.body));
        match media {
            None => self.lanes.push(room, delivery),
            Some(media) => {
                let (router, media) = (self.clone(), media.clone());
                self.life.tracker().spawn_on(
                    async move { router.push_when_settled(&media, room, delivery).await },
                    &self.tasks,
                );
            }
        }
    }

    async fn push_when_settled(&self, media: &Media, room: LaneRoom, delivery: HeldDelivery) {
        tokio::select! {
            biased;
            // It is released with everything else that this node holds.
            () = self.life.soft().cancelled() => {}
            () = media.settle(&delivery) => self.lanes.push(room, delivery),
            () = self.clock.sleep(PATIENCE) => {
                drop(room);
                let lane =
                    Lane { carrier: delivery.event.carrier.clone(), destination: delivery.destination.clone() };
                let due = self.clock.now().plus(AGAIN);
                let why = "its content is still being fetched".to_owned();
                if let Err(why) = self.store.put_back_delivery(&lane.carrier, &delivery.id, due, why).await {
                    tracing::error!(carrier = %lane.carrier, delivery = %delivery.id, %why,
                        "a delivery whose content is still being fetched could not be given back");
                }
                self.timers.lane_due(lane, due);
            }
        }
    }

    /// Removes what was fetched for a delivery that has ended. Files are not removed on the thread that tells of it.
    pub(super) fn forget_media(&self, carrier: &CarrierId, id: &DeliveryId) {
        if let Some(media) = self.sender.media().filter(|media| media.keeps(carrier, id)) {
            let (media, carrier, id) = (media.clone(), carrier.clone(), id.clone());
            self.tasks.spawn_blocking(move || media.forget(&carrier, &id));
        }
    }

    /// Goes on with what the last start had begun to fetch, and then removes now and then what is needed no more.
    pub(super) async fn run_media(self) -> Result<(), StoreError> {
        let Some(media) = self.sender.media() else {
            self.life.soft().cancelled().await;
            return Ok(());
        };
        self.sweep_media(media).await;
        media.resume();
        loop {
            tokio::select! {
                () = self.life.soft().cancelled() => return Ok(()),
                () = self.clock.sleep(SWEEP_EVERY) => {}
            }
            self.sweep_media(media).await;
        }
    }

    async fn sweep_media(&self, media: &Media) {
        let now = self.clock.now();
        let before = Millis(now.0.saturating_sub(i64::try_from(YOUNG.as_millis()).unwrap_or(i64::MAX)));
        for (carrier, ids) in media.kept(before) {
            match self.store.unended(&carrier, &ids).await {
                Ok(open) => {
                    ids.iter().filter(|id| !open.contains(*id)).for_each(|id| media.forget(&carrier, id));
                }
                Err(why) => tracing::warn!(%carrier, %why,
                    "it cannot be told which fetched files are needed no more; trying again in a minute"),
            }
        }
    }
}
