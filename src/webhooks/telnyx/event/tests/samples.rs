//! Events in the documented shape.

use serde_json::{Value, json};

pub(super) fn received() -> Value {
    json!({
        "data": {
            "event_type": "message.received",
            "id": "0b6f1c7e-0000-4000-8000-000000000001",
            "occurred_at": "2026-01-01T00:00:00.588+00:00",
            "record_type": "event",
            "payload": {
                "record_type": "message",
                "direction": "inbound",
                "id": "84cca175-0000-4000-8000-000000000002",
                "type": "SMS",
                "messaging_profile_id": "740572b6-0000-4000-8000-000000000003",
                "organization_id": "47a530f8-0000-4000-8000-000000000004",
                "from": { "phone_number": "+13125550101", "carrier": "Example Mobile", "line_type": "Wireless" },
                "to": [
                    { "phone_number": "+17735550102", "carrier": "Telnyx", "line_type": "Wireless", "status": "webhook_delivered" }
                ],
                "cc": [],
                "subject": null,
                "text": "Is the table free at 7?",
                "media": [],
                "encoding": "GSM-7",
                "parts": 1,
                "cost": { "amount": "0.0000", "currency": "USD" },
                "errors": [],
                "tags": [],
                "autoresponse_type": null,
                "is_spam": false,
                "received_at": "2026-01-01T00:00:00.503+00:00",
                "sent_at": null,
                "completed_at": null,
                "valid_until": null,
                "webhook_url": "https://hooks.example.test/telnyx",
                "webhook_failover_url": null
            }
        },
        "meta": { "attempt": 1, "delivered_to": "https://hooks.example.test/telnyx" }
    })
}

pub(super) fn finalized() -> Value {
    json!({
        "data": {
            "event_type": "message.finalized",
            "id": "4ee8c3a6-0000-4000-8000-000000000010",
            "occurred_at": "2026-01-01T00:01:14.148+00:00",
            "record_type": "event",
            "payload": {
                "record_type": "message",
                "direction": "outbound",
                "id": "ac012cbf-0000-4000-8000-000000000011",
                "type": "MMS",
                "from": { "phone_number": "+17735550102", "carrier": "Telnyx", "line_type": "Wireless", "status": "webhook_delivered" },
                "to": [
                    { "phone_number": "+13125550101", "carrier": "Example Mobile", "line_type": "Wireless", "status": "delivered" },
                    { "phone_number": "+13125550109", "carrier": "Other", "line_type": "Wireless", "status": "delivery_failed" }
                ],
                "cc": [],
                "text": "Your order is ready",
                "errors": [
                    { "code": "40008", "title": "Undeliverable", "detail": "made up", "source": { "pointer": "/to/1/phone_number" } },
                    { "code": "40001", "title": "Not routable" }
                ],
                "sent_at": "2026-01-01T00:01:13.596+00:00",
                "completed_at": "2026-01-01T00:01:14.148+00:00"
            }
        },
        "meta": { "attempt": 1, "delivered_to": "https://hooks.example.test/telnyx" }
    })
}
