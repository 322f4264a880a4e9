-- The carrier-webhook API: which subscriptions were registered there, and what of theirs did not arrive.

-- The `EVENT_ID` of a registration; absent for every other subscription. The rest of it stands in `spec`.
ALTER TABLE subscriptions ADD COLUMN webhook_event BIGINT;

-- What `GET /webhooks/failed` looks through. Touched only by deliveries that fail for good or are put aside.
CREATE INDEX deliveries_undelivered ON deliveries (carrier, id) WHERE state IN ('dead', 'failed', 'held');
