//! Surveys: a row for each link that a customer has begun to answer.
//!
//! Every step changes the row and accepts the event that tells its carrier in one transaction: what is told is told exactly
//! once, whichever node took the answer and whenever that died. It must not know links or pages.

use super::db::{on_db, sql, text};
use super::error::StoreError;
use super::page::{Page, PageRequest};
use super::read::{LAST, PAGE_MAX, cut, open};
use super::rows::{Reading, broken};
use super::writer::Work;
use super::{Store, notice};
use crate::clock::Millis;
use crate::event::{CarrierId, SubscriptionId};
use crate::survey::{Happening, Survey, SurveyId, SurveyState, Ticket, survey_id, tell};

/// The columns of a survey, as [`Row`] takes them; the case is read where something is told of it.
macro_rules! columns {
    ($context:literal) => {
        concat!(
            "carrier, id, event, subscription, state, rating, feedback, initiated_ms, left_ms, completed_ms, leave_ms, \
             expires_ms, ",
            $context
        )
    };
}

sql! {
    SELECT_ASKED = "SELECT e.received_ms, c.name FROM events e JOIN carriers c ON c.id = e.carrier \
        WHERE e.carrier = $1 AND e.id = $2";
    SELECT_SURVEY = concat!("SELECT ", columns!("context"), " FROM surveys \
        WHERE carrier = $1 AND event = $2 AND subscription = $3");
    SELECT_SURVEYS = concat!("SELECT ", columns!("'{}' AS context"), " FROM surveys \
        WHERE carrier = $1 AND id < $2 AND (CAST($3 AS TEXT) IS NULL OR subscription = $3) ORDER BY id DESC LIMIT $4");
    SELECT_SURVEYS_IN = concat!("SELECT ", columns!("'{}' AS context"), " FROM surveys \
        WHERE carrier = $1 AND id < $2 AND (CAST($3 AS TEXT) IS NULL OR subscription = $3) AND state = $5 \
        ORDER BY id DESC LIMIT $4");
    BEGIN_SURVEY = concat!("INSERT INTO surveys (carrier, event, subscription, id, state, rating, feedback, initiated_ms, \
        left_ms, completed_ms, leave_ms, expires_ms, updated_ms, context) \
        VALUES ($1, $2, $3, $4, 'initiated', $5, NULL, $6, NULL, NULL, $7, $8, $6, $9) \
        ON CONFLICT DO NOTHING RETURNING ", columns!("context"));
    /// The customer went back and chose another one.
    CHANGE_RATING = "UPDATE surveys SET rating = $4, updated_ms = $5 \
        WHERE carrier = $1 AND event = $2 AND subscription = $3 AND state <> 'completed'";
    COMPLETE = concat!("UPDATE surveys SET state = 'completed', feedback = $4, completed_ms = $5, updated_ms = $5 \
        WHERE carrier = $1 AND event = $2 AND subscription = $3 AND state <> 'completed' RETURNING ", columns!("context"));
    LEAVE = concat!("UPDATE surveys SET state = 'left', left_ms = $4, updated_ms = $4 \
        WHERE carrier = $1 AND event = $2 AND subscription = $3 AND state = 'initiated' RETURNING ", columns!("context"));
    /// The state is asked again where it is changed: another node may be at the same rows.
    LEAVE_DUE = concat!("UPDATE surveys SET state = 'left', left_ms = $1, updated_ms = $1 \
        WHERE state = 'initiated' AND (carrier, id) IN (SELECT carrier, id FROM surveys \
        WHERE state = 'initiated' AND leave_ms <= $1 ORDER BY leave_ms, carrier, id LIMIT $2) RETURNING ", columns!("context"));
    DELETE_SURVEYS = "DELETE FROM surveys WHERE (carrier, id) IN (SELECT carrier, id FROM surveys \
        WHERE state <> 'initiated' AND updated_ms < $1 ORDER BY updated_ms, carrier, id LIMIT $2)";
}

/// What a link is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The carrier's name for people.
    pub carrier_name: String,
    /// When the event was received.
    pub received: Millis,
    /// The survey, if it was begun.
    pub survey: Option<Survey>,
}

/// A survey that begins.
#[derive(Debug, Clone)]
pub struct NewSurvey {
    /// When its event was received.
    pub received: Millis,
    /// 1 to 5.
    pub rating: u8,
    /// What is told of the case.
    pub context: String,
    /// When it counts as left if nothing follows.
    pub leave: Millis,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was written, and is told.
    Done,
    /// It had been done; a new rating took the place of the one before.
    Already,
    /// The survey is completed: nothing changes any more.
    Answered,
    /// There is no such survey.
    NotBegun,
}

#[derive(sqlx::FromRow)]
struct Row {
    carrier: String,
    id: String,
    event: String,
    subscription: String,
    state: String,
    rating: i64,
    feedback: Option<String>,
    initiated_ms: i64,
    left_ms: Option<i64>,
    completed_ms: Option<i64>,
    leave_ms: i64,
    expires_ms: i64,
    context: String,
}

impl Row {
    fn survey(self) -> Result<Survey, StoreError> {
        let key = format!("{}/{}", self.carrier, self.id);
        let row = Reading { table: "surveys", key: &key };
        Ok(Survey {
            id: row.name("id", &self.id)?,
            carrier: row.name("carrier", &self.carrier)?,
            event: row.name("event", &self.event)?,
            subscription: row.name("subscription", &self.subscription)?,
            state: row.word("state", &self.state)?,
            rating: row.number("rating", self.rating)?,
            feedback: self.feedback,
            initiated: Millis(self.initiated_ms),
            left: self.left_ms.map(Millis),
            completed: self.completed_ms.map(Millis),
            leave: Millis(self.leave_ms),
            expires: Millis(self.expires_ms),
            context: self.context,
        })
    }
}

impl Store {
    /// What a link is about, and its survey if that was begun. None when its event is not there any more, or never was.
    ///
    /// # Errors
    /// What the database says.
    pub async fn survey_asked(&self, ticket: &Ticket) -> Result<Option<Asked>, StoreError> {
        let found: Option<(Millis, String)> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_ASKED)
            .bind(ticket.carrier.as_str())
            .bind(ticket.event.as_str())
            .fetch_optional(db)
            .await?);
        let Some((received, carrier_name)) = found else { return Ok(None) };
        let row: Option<Row> = on_db!(&self.readers, |db| sqlx::query_as(SELECT_SURVEY)
            .bind(ticket.carrier.as_str())
            .bind(ticket.event.as_str())
            .bind(ticket.subscription.as_str())
            .fetch_optional(db)
            .await?);
        let survey = row.map(Row::survey).transpose()?;
        Ok(Some(Asked { carrier_name, received, survey }))
    }

    /// A carrier's surveys that were begun, those of the newest events first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], or what the database says.
    pub async fn surveys(
        &self,
        carrier: &CarrierId,
        state: Option<SurveyState>,
        subscription: Option<&SubscriptionId>,
        page: &PageRequest,
    ) -> Result<Page<Survey>, StoreError> {
        let before = match &page.after {
            Some(after) => open(after)?.parse::<SurveyId>().map_err(|_| StoreError::Cursor)?.to_string(),
            None => LAST.to_owned(),
        };
        let limit = page.limit.clamp(1, PAGE_MAX);
        let sql = if state.is_some() { SELECT_SURVEYS_IN } else { SELECT_SURVEYS };
        let rows: Vec<Row> = on_db!(&self.readers, |db| {
            let query = sqlx::query_as(sql)
                .bind(carrier.as_str())
                .bind(before.as_str())
                .bind(subscription.map(SubscriptionId::as_str))
                .bind(i64::from(limit) + 1);
            match state {
                Some(state) => query.bind(state.as_str()).fetch_all(db).await?,
                None => query.fetch_all(db).await?,
            }
        });
        let surveys = rows.into_iter().map(Row::survey).collect::<Result<Vec<_>, _>>()?;
        Ok(cut(surveys, limit, |survey| survey.id.to_string()))
    }

    /// Begins the survey of a link with its first rating, and tells it. A later rating takes the place of the first one until
    /// the survey is completed, and is not told by itself.
    ///
    /// # Errors
    /// What the database says; then nothing is written.
    pub async fn begin_survey(
        &self,
        ticket: &Ticket,
        new: NewSurvey,
        now: Millis,
    ) -> Result<Taken, StoreError> {
        let ticket = ticket.clone();
        self.write(move |w| {
            Box::pin(async move {
                let (carrier, event, subscription) =
                    (ticket.carrier.as_str(), ticket.event.as_str(), ticket.subscription.as_str());
                let id = survey_id(&ticket.carrier, &ticket.event, new.received, &ticket.subscription);
                let row: Option<Row> = on_db!(&mut *w.conn, |c| sqlx::query_as(BEGIN_SURVEY)
                    .bind(carrier)
                    .bind(event)
                    .bind(subscription)
                    .bind(id.as_str())
                    .bind(i64::from(new.rating))
                    .bind(now)
                    .bind(new.leave)
                    .bind(ticket.expires)
                    .bind(text(&new.context))
                    .fetch_optional(c)
                    .await?);
                if let Some(row) = row {
                    publish(w, &row.survey()?, Happening::Initiated, now).await?;
                    return Ok(Taken::Done);
                }
                let changed = on_db!(&mut *w.conn, |c| sqlx::query(CHANGE_RATING)
                    .bind(carrier)
                    .bind(event)
                    .bind(subscription)
                    .bind(i64::from(new.rating))
                    .bind(now)
                    .execute(c)
                    .await?
                    .rows_affected());
                Ok(if changed > 0 { Taken::Already } else { Taken::Answered })
            })
        })
        .await
    }

    /// Completes a survey with its text, and tells it: once, however often it is asked for.
    ///
    /// # Errors
    /// What the database says; then nothing is written.
    pub async fn complete_survey(
        &self,
        ticket: &Ticket,
        feedback: Option<String>,
        now: Millis,
    ) -> Result<Taken, StoreError> {
        let ticket = ticket.clone();
        self.write(move |w| {
            Box::pin(async move {
                let row: Option<Row> = on_db!(&mut *w.conn, |c| sqlx::query_as(COMPLETE)
                    .bind(ticket.carrier.as_str())
                    .bind(ticket.event.as_str())
                    .bind(ticket.subscription.as_str())
                    .bind(feedback.as_deref().map(text))
                    .bind(now)
                    .fetch_optional(c)
                    .await?);
                let Some(row) = row else { return refused(w, &ticket).await };
                publish(w, &row.survey()?, Happening::Completed, now).await?;
                Ok(Taken::Done)
            })
        })
        .await
    }

    /// Notes that the customer has left a survey, and tells it once.
    ///
    /// # Errors
    /// What the database says; then nothing is written.
    pub async fn leave_survey(&self, ticket: &Ticket, now: Millis) -> Result<Taken, StoreError> {
        let ticket = ticket.clone();
        self.write(move |w| {
            Box::pin(async move {
                let row: Option<Row> = on_db!(&mut *w.conn, |c| sqlx::query_as(LEAVE)
                    .bind(ticket.carrier.as_str())
                    .bind(ticket.event.as_str())
                    .bind(ticket.subscription.as_str())
                    .bind(now)
                    .fetch_optional(c)
                    .await?);
                let Some(row) = row else { return refused(w, &ticket).await };
                publish(w, &row.survey()?, Happening::Left, now).await?;
                Ok(Taken::Done)
            })
        })
        .await
    }

    /// Notes that up to `batch` surveys are left that nobody went on with in time, and tells each. Gives how many; fewer than
    /// `batch` means that it is done. However many nodes look, each is told once.
    ///
    /// # Errors
    /// What the database says; then nothing is written.
    pub async fn leave_due_surveys(&self, now: Millis, batch: u32) -> Result<u64, StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                let rows: Vec<Row> = on_db!(&mut *w.conn, |c| sqlx::query_as(LEAVE_DUE)
                    .bind(now)
                    .bind(i64::from(batch))
                    .fetch_all(c)
                    .await?);
                let n = rows.len() as u64;
                for row in rows {
                    // One that cannot be read must not keep the others from being told.
                    match row.survey() {
                        Ok(survey) => match publish(w, &survey, Happening::Left, now).await {
                            Err(why @ StoreError::Inconsistent { .. }) => {
                                tracing::error!(error = %why, "a survey that was left cannot be told");
                            }
                            told => told?,
                        },
                        Err(why) => tracing::error!(error = %why, "a survey that was left cannot be told"),
                    }
                }
                Ok(n)
            })
        })
        .await
    }

    /// Deletes up to `batch` surveys that were last changed before `before` and are not under way. Gives how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_surveys_before(&self, before: Millis, batch: u32) -> Result<u64, StoreError> {
        self.write(move |w| {
            Box::pin(async move {
                Ok(on_db!(&mut *w.conn, |c| sqlx::query(DELETE_SURVEYS)
                    .bind(before)
                    .bind(i64::from(batch))
                    .execute(c)
                    .await?
                    .rows_affected()))
            })
        })
        .await
    }
}

/// Why a survey did not change.
async fn refused(w: &mut Work<'_>, ticket: &Ticket) -> Result<Taken, StoreError> {
    let row: Option<Row> = on_db!(&mut *w.conn, |c| sqlx::query_as(SELECT_SURVEY)
        .bind(ticket.carrier.as_str())
        .bind(ticket.event.as_str())
        .bind(ticket.subscription.as_str())
        .fetch_optional(c)
        .await?);
    Ok(match row.map(Row::survey).transpose()? {
        None => Taken::NotBegun,
        Some(survey) if survey.state == SurveyState::Completed => Taken::Answered,
        Some(_) => Taken::Already,
    })
}

async fn publish(w: &mut Work<'_>, survey: &Survey, what: Happening, now: Millis) -> Result<(), StoreError> {
    let event = tell(survey, what, now)
        .map_err(|why| broken("surveys", "context", survey.id.as_str(), why.to_string()))?;
    notice::publish(w, &event).await
}
