//! `…/subscriptions/{subscription}/schedule`: when a scheduled subscription is due, what it did, and runs by hand.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Part;
use super::log_views::raw;
use super::problem::{Code, Problem, Problems};
use super::proof::OfCarrier;
use super::state::ApiState;
use super::subscriptions::{IdPart, existing};
use crate::carrier::{ScheduleSpec, Subscription, SubscriptionState};
use crate::clock::{Clock, Millis};
use crate::event::CarrierId;
use crate::schedule::Schedule;
use crate::store::Store;
use crate::store::collected::{CollectedGroup, Window};
use crate::store::schedules::{EndedRun, Run, RunKind, ScheduleKey, ScheduleRecord};

/// Ticks that are told ahead.
const NEXT: usize = 5;
/// Events that are counted at most: the limit `schedule_counted_events`.
const COUNTED: u32 = 100_000;
/// Groups that a dry run lists at most: the limit `schedule_listed_groups`.
const LISTED: usize = 100;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(run)).routes(routes!(dry_run))
}

/// How far a scheduled subscription has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleView {
    /// Its schedule.
    pub schedule: ScheduleSpec,
    /// Whether it takes part: one that is paused has no ticks.
    pub state: SubscriptionState,
    /// The next five ticks, in Unix milliseconds; none while it is paused.
    #[schema(value_type = Vec<i64>)]
    pub next_ms: Vec<Millis>,
    /// The tick up to which all that was collected has become digests, in Unix milliseconds; at first, when it was made.
    #[schema(value_type = i64)]
    pub watermark_ms: Millis,
    /// What waits for the next tick.
    pub waiting: WaitingView,
    /// The run under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunView>,
    /// The last run that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunView>,
}

/// Events that wait for a tick.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingView {
    /// How many there are, up to 100 000.
    pub events: u32,
    /// Whether there are more than were counted.
    pub more: bool,
}

impl WaitingView {
    fn of(counted: u32) -> Self {
        Self { events: counted.min(COUNTED), more: counted > COUNTED }
    }
}

/// A run: what came since the tick before becomes digests.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunView {
    /// What made it.
    pub kind: RunKind,
    /// Its tick, in Unix milliseconds: events that came later are for the next one.
    #[schema(value_type = i64)]
    pub to_ms: Millis,
    /// When it began, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub started_ms: Millis,
    /// When it ended, in Unix milliseconds; absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub ended_ms: Option<Millis>,
    /// Digests that it wrote.
    pub digests: u64,
    /// Events in them.
    pub events: u64,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let Run { to, kind, started, digests, events, .. } = run;
        Self { kind, to_ms: to, started_ms: started, ended_ms: None, digests, events }
    }
}

impl From<EndedRun> for RunView {
    fn from(run: EndedRun) -> Self {
        let EndedRun { to, kind, started, ended, digests, events } = run;
        Self { kind, to_ms: to, started_ms: started, ended_ms: Some(ended), digests, events }
    }
}

/// What a run would send now.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunView {
    /// The tick before, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub from_ms: Millis,
    /// This moment, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub to_ms: Millis,
    /// The events that would be in digests.
    pub waiting: WaitingView,
    /// The first 100 groups, in their order, as far as their events were counted.
    pub groups: Vec<GroupView>,
    /// Whether there are more groups than are listed.
    pub more_groups: bool,
}

/// Events with the same value.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupView {
    /// The value; null for events without one.
    #[schema(value_type = serde_json::Value)]
    pub group: Box<RawValue>,
    /// How many events there are.
    pub events: u64,
    /// The bytes that they take in digests.
    pub bytes: u64,
    /// When the first came, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub first_ms: Millis,
    /// When the last came, in Unix milliseconds.
    #[schema(value_type = i64)]
    pub last_ms: Millis,
}

impl From<CollectedGroup> for GroupView {
    fn from(one: CollectedGroup) -> Self {
        let CollectedGroup { group, events, bytes, first, last } = one;
        Self { group: raw(&group), events, bytes, first_ms: first, last_ms: last }
    }
}

/// A scheduled subscription, and how far it has come.
struct Scheduled {
    subscription: Subscription,
    schedule: ScheduleSpec,
    record: ScheduleRecord,
}

impl Scheduled {
    async fn find(store: &Store, carrier: &CarrierId, part: &IdPart) -> Result<Self, Problem> {
        let subscription = existing(store, carrier, &part.subscription).await?;
        let key = ScheduleKey { carrier: carrier.clone(), subscription: subscription.id.clone() };
        let record = store.schedule(&key).await?;
        let (Some(schedule), Some(record)) = (subscription.spec.schedule.clone(), record) else {
            let detail = "the subscription has no schedule: `PUT` it with `schedule` to have its events sent as digests";
            return Err(Problem::new(Code::WrongState, detail));
        };
        Ok(Self { subscription, schedule, record })
    }

    /// What a run up to `to` would take.
    fn window(&self, to: Millis) -> Window {
        Window { from: self.record.created, to }
    }
}

/// Read how far a scheduled subscription has come
///
/// Its next ticks, what waits for them, and its last run.
#[utoipa::path(get, path = "/v1/carriers/{carrier}/subscriptions/{subscription}/schedule", tag = "subscriptions",
    responses((status = 200, description = "How far it has come", body = ScheduleView), Problems))]
async fn get(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<IdPart>,
) -> Result<impl IntoResponse, Problem> {
    let found = Scheduled::find(&store, &of.carrier, &part).await?;
    let compiled = Schedule::compile(&found.schedule)
        .map_err(|why| Problem::new(Code::Internal, format!("the stored schedule cannot be read: {why}")))?;
    let state = found.subscription.state;
    let ticks = std::iter::successors(compiled.next_after(clock.now()), |tick| compiled.next_after(*tick));
    let next_ms = ticks.take(if state == SubscriptionState::Active { NEXT } else { 0 }).collect();
    let counted =
        store.count_collected(&found.record.key, found.window(Millis(i64::MAX)), COUNTED + 1).await?;
    let Scheduled { schedule, record, .. } = found;
    Ok(axum::Json(ScheduleView {
        schedule,
        state,
        next_ms,
        watermark_ms: record.watermark,
        waiting: WaitingView::of(counted),
        run: record.run.map(RunView::from),
        last_run: record.last.map(RunView::from),
    }))
}

/// Run a scheduled subscription now
///
/// What it has collected by this moment goes out as digests; the next tick begins where this ends. Answered when the run is
/// noted: it is made by a node that has time for it.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/subscriptions/{subscription}/schedule/run", tag = "subscriptions",
    responses((status = 202, description = "The run that begins", body = RunView), Problems))]
async fn run(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<IdPart>,
) -> Result<impl IntoResponse, Problem> {
    let found = Scheduled::find(&store, &of.carrier, &part).await?;
    if found.subscription.state == SubscriptionState::Paused {
        return Err(Problem::new(Code::WrongState, "the subscription is paused: resume it first"));
    }
    let (now, watermark) = (clock.now(), found.record.watermark);
    let to = now.max(watermark);
    if !store.ask_for_run(&found.record.key, to, now, watermark).await? {
        return Err(Problem::new(Code::WrongState, "a run is under way: ask again when it has ended"));
    }
    let view =
        RunView { kind: RunKind::Hand, to_ms: to, started_ms: now, ended_ms: None, digests: 0, events: 0 };
    Ok((StatusCode::ACCEPTED, axum::Json(view)))
}

/// See what a run would send now
///
/// Nothing is sent or changed. Events that were accepted and are not routed yet are not counted.
#[utoipa::path(post, path = "/v1/carriers/{carrier}/subscriptions/{subscription}/schedule/dry-run", tag = "subscriptions",
    responses((status = 200, description = "What would be in the digests", body = DryRunView), Problems))]
async fn dry_run(
    of: OfCarrier,
    State(store): State<Store>,
    State(clock): State<Clock>,
    Part(part): Part<IdPart>,
) -> Result<impl IntoResponse, Problem> {
    let found = Scheduled::find(&store, &of.carrier, &part).await?;
    let to = clock.now().max(found.record.watermark);
    let (key, window) = (&found.record.key, found.window(to));
    let counted = store.count_collected(key, window, COUNTED + 1).await?;
    let mut groups = store.collected_groups(key, window, COUNTED, LISTED as u32 + 1).await?;
    let waiting = WaitingView::of(counted);
    let more_groups = waiting.more || groups.len() > LISTED;
    groups.truncate(LISTED);
    Ok(axum::Json(DryRunView {
        from_ms: found.record.watermark,
        to_ms: to,
        waiting,
        groups: groups.into_iter().map(GroupView::from).collect(),
        more_groups,
    }))
}
