//! What every [`Store`] must do, on each database: one list of cases, run on both.

mod agreement;
mod bed;
mod claims;
mod hand;
mod model;
mod notices;
mod reading;
mod recover;
mod schedules;
mod schema;
mod setup;
mod surveys;
mod way;
mod webhooks;

use bed::{Bed, Kind};

/// Declares every case twice, once for each database.
macro_rules! contract {
    ($($file:ident :: $name:ident,)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let bed = super::Bed::make(super::Kind::Sqlite).await;
                super::$file::$name(&bed).await;
                bed.end().await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                let bed = super::Bed::make(super::Kind::Postgres).await;
                super::$file::$name(&bed).await;
                bed.end().await;
            })*
        }
    };
}

contract! {
    way::an_event_goes_all_the_way,
    way::a_repeat_gets_the_first_acceptance,
    way::another_body_is_a_conflict_and_refuses_the_whole_group,
    way::an_unknown_carrier_refuses_the_whole_group,
    way::one_group_that_is_refused_does_not_hurt_its_turn,
    way::a_full_backlog_is_refused_until_it_is_claimed,
    way::a_full_queue_is_busy,
    way::a_plan_that_is_not_held_is_lost,
    way::planning_twice_changes_nothing,
    way::a_record_that_is_not_held_is_lost_alone,
    way::an_attempt_says_what_follows,
    way::an_attempt_changes_its_destination,
    way::bodies_and_messages_come_back_as_they_were,
    way::nul_in_texts_for_people_is_replaced,
    way::many_events_in_one_turn,
    way::a_bad_row_fails_alone,
    way::a_closed_store_says_so,
    claims::unheld_events_are_claimed_in_order_and_once,
    claims::lanes_are_claimed_by_due_time,
    claims::a_dead_nodes_work_is_taken_over,
    claims::a_closed_nodes_work_is_free,
    claims::a_node_without_its_row_is_lost,
    claims::routings_run_again,
    claims::a_delivery_that_stands_already_stays,
    claims::wakes_follow_the_commit,
    agreement::every_change_of_what_is_set_up_takes_a_number,
    agreement::a_change_that_fails_takes_none,
    agreement::a_node_is_waited_for_while_it_takes_part,
    setup::carriers_and_keys,
    setup::destinations_keep_state_when_replaced,
    setup::enabling_a_destination_frees_what_it_held,
    setup::deleting_a_destination_cancels_its_deliveries,
    setup::subscriptions,
    setup::plugins_and_versions,
    setup::tables_are_replaced,
    setup::event_types_are_described_anew,
    setup::answers_are_remembered_for_a_day,
    setup::tokens_are_replaced_dropped_and_forgotten_when_they_end,
    reading::pages_stay_exact_under_inserts,
    reading::filters,
    reading::a_search_is_bounded_and_goes_on,
    reading::cursors_are_checked,
    hand::retry_and_cancel_one,
    hand::bulk_retry_takes_each_exactly_once,
    hand::what_was_delivered_is_sent_again_under_its_id,
    hand::what_waits_is_cancelled_in_bulk,
    recover::five_thousand_failures_are_recovered_exactly_once,
    notices::a_destination_that_is_disabled_is_told_once,
    surveys::a_survey_steps_forward_and_tells_each_step_once,
    surveys::what_is_left_is_told_once_by_whoever_looks,
    surveys::a_key_of_the_hosts_own_is_the_first_one_that_came,
    hand::a_parked_routing_is_run_again,
    hand::retention_leaves_open_work,
    webhooks::a_webhook_and_its_destination_come_and_go_together,
    webhooks::failures_are_those_of_registrations_by_their_first_attempt,
    webhooks::a_retry_enables_the_destination,
    webhooks::a_look_up_of_failures_is_bounded_and_goes_on,
    schedules::what_is_collected_is_in_one_digest,
    schedules::a_run_has_one_holder,
    schedules::a_dead_nodes_run_is_gone_on_with,
    schedules::what_is_committed_late_is_in_the_next_digest,
    schedules::what_waits_for_a_tick_is_kept,
    schedules::what_was_deleted_is_forgotten,
    schema::every_statement_prepares,
    schema::an_unknown_schema_is_refused,
}
