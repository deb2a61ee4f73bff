//! Every code that an error can carry: stable, and explained at `/problems/<code>`.

use axum::http::StatusCode;

macro_rules! codes {
    ($($variant:ident $code:literal $status:ident $title:literal: $meaning:literal;)*) => {
        /// Every code an error can carry. A code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $meaning] $variant,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as clients see it.
            pub fn as_str(self) -> &'static str { match self { $(Code::$variant => $code,)* } }
            /// The HTTP status that an answer with this code has.
            pub fn status(self) -> StatusCode { match self { $(Code::$variant => StatusCode::$status,)* } }
            /// A short title for people.
            pub fn title(self) -> &'static str { match self { $(Code::$variant => $title,)* } }
            /// What the code means and what a client should do about it.
            pub fn meaning(self) -> &'static str { match self { $(Code::$variant => $meaning,)* } }
        }
    };
}

codes! {
    MalformedBody "malformed_body" BAD_REQUEST "Malformed body": "The request body is not JSON. Send a JSON object in UTF-8.";
    MalformedRequest "malformed_request" BAD_REQUEST "Malformed request": "The request names more than one host. Send one `Host` header, on HTTP/2 the same as `:authority`.";
    MalformedEvent "malformed_event" BAD_REQUEST "Malformed event": "The signature is good, but the body is not an event of the provider.";
    InvalidToken "invalid_token" UNAUTHORIZED "Invalid token": "The access token is missing, altered or not ours, or the refresh token is no longer good. Sign in again.";
    TokenExpired "token_expired" UNAUTHORIZED "Token expired": "The access token's time is over. Get a new one with the refresh token.";
    TokenRevoked "token_revoked" UNAUTHORIZED "Token revoked": "The session of the access token has been ended. Sign in again.";
    InvalidCredentials "invalid_credentials" UNAUTHORIZED "Invalid credentials": "The email address, the password or the code is wrong.";
    MfaRequired "mfa_required" UNAUTHORIZED "Second factor required": "The password is right, and the account has a second factor. Repeat the call with `totp_code` from the authenticator app, or with a `recovery_code`.";
    InvalidSignature "invalid_signature" UNAUTHORIZED "Invalid signature": "The webhook's signature is missing, wrong or too old.";
    Forbidden "forbidden" FORBIDDEN "Forbidden": "Your role does not permit this.";
    MfaEnrollmentRequired "mfa_enrollment_required" FORBIDDEN "Second factor to be set up": "A second factor is asked of everybody here, and you have none yet. Set one up by the calls below `/auth/mfa`; until then nothing else is open to you.";
    StepUpRequired "step_up_required" FORBIDDEN "To be proven once more": "This asks for the password, and the second factor where there is one, once more in this session: call `/auth/step-up`, and repeat the call within five minutes. A key of a program cannot; whom an identity provider signs in proves it there.";
    EmailNotVerified "email_not_verified" FORBIDDEN "Email not verified": "Nothing is sent to others until an owner of the organization has proven their own address, by the letter that was sent to it.";
    TenantSuspended "tenant_suspended" FORBIDDEN "Organization suspended": "The organization is suspended. Nothing of it is lost; write to support.";
    TenantDeleted "tenant_deleted" FORBIDDEN "Organization deleted": "The organization has been deleted.";
    TenantMismatch "tenant_mismatch" FORBIDDEN "Organization mismatch": "The request names more than one organization: its access or refresh token, `tenant`, `X-Tenant-Id` and its host must agree.";
    CsrfRejected "csrf_rejected" FORBIDDEN "Request of another site": "A request that is signed in by cookie and changes something must come from a page of the same origin.";
    NotFound "not_found" NOT_FOUND "Not found": "There is nothing here, or it is not yours.";
    TenantNotFound "tenant_not_found" NOT_FOUND "Organization not found": "The host belongs to no organization.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "Method not allowed": "This resource does not take this method; the Allow header lists those it takes.";
    EmailTaken "email_taken" CONFLICT "Email taken": "This email address has already registered an organization. Sign in instead.";
    SlugTaken "slug_taken" CONFLICT "Slug taken": "Another organization has this slug. Choose another, or leave it out.";
    BodyTimeout "body_timeout" REQUEST_TIMEOUT "Body too slow": "The request body did not come, or came too slowly. Send it again.";
    Conflict "conflict" CONFLICT "Conflict": "The change collides with something that exists already.";
    IdempotencyInProgress "idempotency_in_progress" CONFLICT "Still being done": "The first request with this Idempotency-Key is still being worked on. Try again a little later.";
    TenantSelectionRequired "tenant_selection_required" CONFLICT "Organization to be selected": "The credentials belong to several organizations. Repeat the call with `tenant` set to the slug of one of the choices.";
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "Body too large": "The request body is larger than is accepted.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "Unsupported media type": "Send the body as application/json, not compressed.";
    ValidationFailed "validation_failed" UNPROCESSABLE_ENTITY "Validation failed": "Some fields or query parameters are missing, unknown or out of range; `errors` lists all of them.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY "Idempotency key reused": "This Idempotency-Key came before with another body. Use a new key for a new request.";
    RateLimited "rate_limited" TOO_MANY_REQUESTS "Too many requests": "You have called too often, or too many sign-ins have failed. Try again after the time in Retry-After; the RateLimit header says which limit it was.";
    Internal "internal_error" INTERNAL_SERVER_ERROR "Internal error": "A fault of ours. It has been recorded under the request id.";
    Busy "busy" SERVICE_UNAVAILABLE "Busy": "Too much is going on at once. Try again after the time in Retry-After.";
    TenantFailed "tenant_failed" SERVICE_UNAVAILABLE "Organization not usable": "The organization could not be created. Write to support.";
    TenantDatabaseUnavailable "tenant_database_unavailable" SERVICE_UNAVAILABLE "Organization's database unavailable": "The organization's database cannot be reached at the moment. Try again after the time in Retry-After.";
    TenantProvisioning "tenant_provisioning" SERVICE_UNAVAILABLE "Organization being created": "The organization is still being created. Try again after the time in Retry-After.";
    TenantSchemaOutdated "tenant_schema_outdated" SERVICE_UNAVAILABLE "Organization being upgraded": "The organization's database is being upgraded. Try again after the time in Retry-After.";
    PoolBusy "pool_busy" SERVICE_UNAVAILABLE "Organization busy": "All of the organization's database connections are in use. Try again after the time in Retry-After.";
    RouterSaturated "router_saturated" SERVICE_UNAVAILABLE "Gateway saturated": "Too many organizations are in use at once. Try again after the time in Retry-After.";
    RegistryUnavailable "registry_unavailable" SERVICE_UNAVAILABLE "Registry unavailable": "The gateway cannot look organizations up at the moment. Try again after the time in Retry-After.";
    NotStored "not_stored" SERVICE_UNAVAILABLE "Event not stored": "The event could be stored nowhere. Send it again.";
    Draining "draining" SERVICE_UNAVAILABLE "Shutting down": "This replica is shutting down. Another one will answer.";
}
