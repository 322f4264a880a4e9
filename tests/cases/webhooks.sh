#!/usr/bin/env bash
# What a carrier's integration does with the webhook API, written from the public documents alone: plain `curl` calls,
# bodies as they stand there, answers read with `sed`. Run by `tests/it/webhooks/script.rs`, which sets
#
#   BASE      the address of the API        API_KEY   the carrier's key        RECEIVER  the carrier's own system
#
# and does what the script asks for on its standard output (`platform EVENT-TYPE`, `receiver up|down`, `settle all`).
set -euo pipefail

ask() { echo "$1 $2"; read -r _; }
fail() { echo "webhooks.sh: $*" >&2; exit 1; }
call() { curl -sS --fail-with-body -H "x-api-key: $API_KEY" -H 'Content-Type: application/json' "$@"; }
status() { curl -sS -o /dev/null -w '%{http_code}' -H "x-api-key: $API_KEY" -H 'Content-Type: application/json' "$@"; }
member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
count() { grep -o "\"$1\"" | wc -l | tr -d ' '; }
is() { [ "$1" = "$2" ] || fail "$3: \"$1\" instead of \"$2\""; }

# ---- Subscribing: the example, several of the same type, other events
message=$(call -X POST "$BASE/webhooks/register" -d '{
  "EVENT_ID": 14,
  "HTTP_POST_ADDRESS": "'"$RECEIVER"'/bbd497f6",
  "HEADERS": { "key": "value", "key1": "value1" },
  "FILTER_BY": "caseData.brand:Hi Marley&state:open"
}' | member SUBSCRIPTION_ID)
other_brand=$(call -X POST "$BASE/webhooks/register" -d '{
  "EVENT_ID": 14, "HTTP_POST_ADDRESS": "'"$RECEIVER"'/other", "FILTER_BY": "caseData.brand:Other"
}' | member SUBSCRIPTION_ID)
closed=$(call -X POST "$BASE/webhooks/register" -d '{
  "EVENT_ID": 11, "HTTP_POST_ADDRESS": "'"$RECEIVER"'/transcripts", "HEADERS": [ { "key": "value", "key1": "value1" } ]
}' | member SUBSCRIPTION_ID)
opted_out=$(call -X POST "$BASE/webhooks/register" -d '{
  "EVENT_ID": 1, "HTTP_POST_ADDRESS": "'"$RECEIVER"'/users"
}' | member SUBSCRIPTION_ID)
note=$(call -X POST "$BASE/webhooks/register" -d '{
  "EVENT_ID": 16, "HTTP_POST_ADDRESS": "'"$RECEIVER"'/notes", "HEADERS": { "Authorization": "myToken3118yfj8134feda" }
}' | member SUBSCRIPTION_ID)
[ "${#message}" = 36 ] || fail "the subscription's id is \"$message\""

# ---- OAuth 2.0, both grants
call -X POST "$BASE/webhooks/register" -o /dev/null -d '{
  "EVENT_ID": 10,
  "HTTP_POST_ADDRESS": "'"$RECEIVER"'/services/himarley",
  "HEADERS": { "Authorization": {
    "type": "OaUth2", "grant_type": "client_credentials", "client_id": "id", "client_secret": "s3cret",
    "scope": "required scope", "token_url": "'"$RECEIVER"'/token", "audience": "https://audienceUrl"
  } }
}'
oauth=$(call -X POST "$BASE/webhooks/register" -d '{
  "EVENT_ID": 10,
  "HTTP_POST_ADDRESS": "'"$RECEIVER"'/c30b8e85",
  "HEADERS": { "Authorization": {
    "type": "OaUth2", "grant_type": "password", "client_id": "id", "client_secret": "s3cret",
    "token_url": "'"$RECEIVER"'/token", "username": "user", "password": "s3cret", "optional_params": ["client_id"],
    "additional_headers": { "x-gateway-key": "s3cret" }
  } }
}' | member SUBSCRIPTION_ID)

# ---- Files, mail, survey: each is sent when a case closes
transcript=$(call -X POST "$BASE/webhooks/register" -d '{
  "EVENT_ID": 3, "FORMAT": "${caseData.brand}/${caseData.claimNumber}_${partialId}"
}' | member SUBSCRIPTION_ID)
mail=$(call -X POST "$BASE/webhooks/register" -d '{ "EVENT_ID": 8, "RECIPIENTS": ["claims@acme.example"] }' | member SUBSCRIPTION_ID)
survey=$(call -X POST "$BASE/webhooks/register" -d '{ "EVENT_ID": 9 }' | member SUBSCRIPTION_ID)
ask platform case.closed
is "$(call "$BASE/webhooks/failed?startTime=0")" '[]' 'failures of a closed case'
for id in "$transcript" "$mail" "$survey"; do
  is "$(call -X DELETE "$BASE/webhooks/unregister/$id" | member ORGANIZATION_ID)" acme 'the organization'
done
for body in '{ "EVENT_ID": 3, "FORMAT": "${caseData.brand}/${caseData.claimNumber}_${partialId}", "redacted": true }' \
  '{ "EVENT_ID": 4, "format": "${referenceId}_${currentDateTime}" }' '{ "EVENT_ID": 15 }' \
  '{ "EVENT_ID": 4, "SCHEDULE": "weekly mon 02:30", "TIME_ZONE": "America/New_York" }' \
  '{ "EVENT_ID": 8, "RECIPIENTS": ["claims@acme.example"] }' '{ "EVENT_ID": 9 }'; do
  file=$(call -X POST "$BASE/webhooks/register" -d "$body" | member SUBSCRIPTION_ID)
  call -X DELETE "$BASE/webhooks/unregister/$file" -o /dev/null
done

# ---- Viewing what is subscribed
listed=$(call "$BASE/webhooks/subscribed")
is "$(count SUBSCRIPTION_ID <<<"$listed")" 7 'subscriptions'
case $listed in '{"subscriptions":['*) ;; *) fail "the list is $listed" ;; esac
case $listed in *s3cret* | *myToken*) fail 'the list shows a secret' ;; esac
grep -q '"EVENT":"CLOSE_CASE"' <<<"$listed" || fail 'CLOSE_CASE is not listed'

# ---- Events, as the platform has them
ask platform message.created
ask platform case.closed
ask platform user.opted_out
is "$(call "$BASE/webhooks/failed?startTime=0")" '[]' 'failures when all is well'

# ---- An outage of the carrier's system, a query, a retry of each
start=$(($(date +%s) * 1000 - 1000))
ask receiver down
ask platform note.created
ask platform message.created
failed=$(call "$BASE/webhooks/failed?startTime=$start")
is "$(count requestId <<<"$failed")" 2 'failures after the outage'
one=$(call "$BASE/webhooks/failed?startTime=$start&eventId=16&subscriptionId=$note")
request=$(member requestId <<<"$one")
is "$(member subscriptionId <<<"$one")" "$note" 'the subscription of the failure'
is "$(member eventId <<<"$one")" 16 'the event of the failure'
[ "$(member originalAttemptTime <<<"$one")" -ge "$start" ] || fail "the time of the failure in $one"
ask receiver up
is "$(call -X POST "$BASE/webhooks/retry/$request")" '{"status":"started retry"}' 'the retry'
ask settle all
is "$(call "$BASE/webhooks/failed?startTime=$start" | count requestId)" 1 'failures after the retry'
is "$(status -X POST "$BASE/webhooks/retry/$request")" 409 'a second retry'
is "$(call -X POST "$BASE/webhooks/retry" -d "{\"startTime\": $start, \"eventId\": 14}")" \
  '{"status":"started retry","count":1}' 'the retry of the rest'
ask settle all
is "$(call "$BASE/webhooks/failed?startTime=$start")" '[]' 'failures at the end'

# ---- Changing address and credentials
changed=$(call -X PATCH "$BASE/webhooks/update/$note" -d '{
  "HTTP_POST_ADDRESS": "'"$RECEIVER"'/moved", "HEADERS": { "Authorization": "another" }
}')
is "$(member HTTP_POST_ADDRESS <<<"$changed")" "$RECEIVER/moved" 'the new address'
call -X PATCH "$BASE/webhooks/update/$oauth" -o /dev/null -d '{ "HEADERS": { "Authorization": { "client_secret": "s3cret2" } } }'
is "$(status -X PATCH "$BASE/webhooks/update/$note" -d '{ "FILTER_BY": "state:open" }')" 400 'a change of the filter'
ask platform note.created

# ---- Removing
for id in "$message" "$other_brand" "$closed" "$opted_out" "$note" "$oauth"; do
  is "$(call -X DELETE "$BASE/webhooks/unregister/$id" | member ORGANIZATION_ID)" acme 'the organization'
done
is "$(status -X DELETE "$BASE/webhooks/unregister/$note")" 404 'what was removed already'
is "$(call "$BASE/webhooks/subscribed" | count SUBSCRIPTION_ID)" 1 'what is left'
is "$(curl -sS -o /dev/null -w "%{http_code}" "$BASE/webhooks/subscribed")" 401 'without a key'
