//! Surveys: every step is told once, whoever takes it.

use std::time::Duration;

use hookyard::clock::Millis;
use hookyard::store::Store;
use hookyard::store::page::{EventFilter, PageRequest};
use hookyard::store::surveys::{NewSurvey, Taken};
use hookyard::survey::{SurveyState, Ticket};

use super::bed::*;

fn ticket(event: &str) -> Ticket {
    let (carrier, event) = ("acme".parse().unwrap(), event.parse().unwrap());
    Ticket { carrier, event, subscription: main_subscription(), expires: Millis(T0.0 + 1_000_000) }
}

fn new_survey(leave: i64) -> NewSurvey {
    NewSurvey { received: T0, rating: 4, context: "{\"a\":1}".to_owned(), leave: Millis(T0.0 + leave) }
}

async fn told(store: &Store) -> usize {
    let filter = EventFilter { event_type: Some("case.event".parse().unwrap()), ..EventFilter::default() };
    let all = PageRequest { limit: 500, after: None };
    store.events(&"acme".parse().unwrap(), &filter, &all).await.unwrap().items.len()
}

async fn in_state(store: &Store, state: SurveyState) -> usize {
    let all = PageRequest { limit: 500, after: None };
    store.surveys(&"acme".parse().unwrap(), Some(state), None, &all).await.unwrap().items.len()
}

pub(super) async fn a_survey_steps_forward_and_tells_each_step_once(bed: &Bed) {
    let store = bed.furnished().await;
    assert_eq!(store.survey_asked(&ticket("e")).await.unwrap(), None, "there is no such event");
    accept(&store, vec![new(&event("e"), true)]).await.unwrap();
    let asked = store.survey_asked(&ticket("e")).await.unwrap().unwrap();
    assert_eq!((asked.carrier_name.as_str(), asked.received, asked.survey), ("acme", T0, None));
    assert_eq!(store.complete_survey(&ticket("e"), None, T0).await.unwrap(), Taken::NotBegun);
    assert_eq!(store.leave_survey(&ticket("e"), T0).await.unwrap(), Taken::NotBegun);
    assert_eq!(told(&store).await, 0);
    let begin = async |rating| {
        store.begin_survey(&ticket("e"), NewSurvey { rating, ..new_survey(9) }, T0).await.unwrap()
    };
    assert_eq!((begin(4).await, begin(2).await), (Taken::Done, Taken::Already));
    let survey = store.survey_asked(&ticket("e")).await.unwrap().unwrap().survey.unwrap();
    assert_eq!((survey.rating, survey.state, survey.leave), (2, SurveyState::Initiated, Millis(T0.0 + 9)));
    let later = T0.plus(Duration::from_secs(1));
    assert_eq!(store.leave_survey(&ticket("e"), later).await.unwrap(), Taken::Done);
    assert_eq!(store.leave_survey(&ticket("e"), later).await.unwrap(), Taken::Already);
    assert_eq!(store.leave_due_surveys(later, 9).await.unwrap(), 0);
    let words = Some("a\0b".to_owned());
    assert_eq!(store.complete_survey(&ticket("e"), words.clone(), later).await.unwrap(), Taken::Done);
    assert_eq!(store.complete_survey(&ticket("e"), words, later).await.unwrap(), Taken::Answered);
    assert_eq!(
        (begin(1).await, store.leave_survey(&ticket("e"), later).await.unwrap()),
        (Taken::Answered, Taken::Answered)
    );
    let survey = store.survey_asked(&ticket("e")).await.unwrap().unwrap().survey.unwrap();
    assert_eq!(survey.feedback.as_deref(), Some("a\u{fffd}b"));
    assert_eq!((survey.rating, survey.left, survey.completed), (2, Some(later), Some(later)));
    assert_eq!(told(&store).await, 3);
    // What is told is on its way.
    assert_eq!(store.claim_events(&"acme".parse().unwrap(), 9).await.unwrap().len(), 3);
}

pub(super) async fn what_is_left_is_told_once_by_whoever_looks(bed: &Bed) {
    let store = bed.furnished().await;
    // On PostgreSQL another node looks as well; on SQLite there is never one.
    let other = match bed {
        Bed::Sqlite(_) => store.clone(),
        Bed::Postgres(_) => bed.open().await,
    };
    for n in 0..50 {
        let id = format!("e{n}");
        accept(&store, vec![new(&event(&id), true)]).await.unwrap();
        store.begin_survey(&ticket(&id), new_survey(n), T0).await.unwrap();
    }
    assert_eq!(told(&store).await, 50);
    let now = Millis(T0.0 + 39);
    let mut lookers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = if n % 2 == 0 { store.clone() } else { other.clone() };
        lookers.spawn(async move {
            let mut found = 0;
            // A batch in which another one was faster is smaller than what there is.
            while in_state(&store, SurveyState::Initiated).await > 10 {
                found += store.leave_due_surveys(now, 7).await.unwrap();
            }
            found
        });
    }
    assert_eq!(lookers.join_all().await.into_iter().sum::<u64>(), 40);
    assert_eq!((told(&store).await, in_state(&store, SurveyState::Left).await), (90, 40));
    // Retention takes what has ended, in steps, and never what is under way.
    let later = Millis(T0.0 + 40);
    assert_eq!(store.delete_surveys_before(now, 100).await.unwrap(), 0);
    assert_eq!(store.delete_surveys_before(later, 30).await.unwrap(), 30);
    assert_eq!(store.delete_surveys_before(later, 30).await.unwrap(), 10);
    assert_eq!(in_state(&store, SurveyState::Initiated).await, 10);
}

pub(super) async fn a_key_of_the_hosts_own_is_the_first_one_that_came(bed: &Bed) {
    let store = bed.furnished().await;
    assert_eq!(store.host_key("survey", "links").await.unwrap(), None);
    store.put_host_key("survey", "links", vec![1, 2], T0).await.unwrap();
    store.put_host_key("survey", "links", vec![3, 4], T0).await.unwrap();
    assert_eq!(store.host_key("survey", "links").await.unwrap(), Some(vec![1, 2]));
    assert_eq!(store.host_key("survey", "other").await.unwrap(), None);
}
