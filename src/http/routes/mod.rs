//! Handlers: a folder for each noun, a file for each verb. Each handler takes what it needs, calls
//! one module below, and answers.

pub(super) mod admin;
pub(super) mod api_keys;
pub(super) mod auth;
pub(super) mod branches;
pub(super) mod conversations;
pub(super) mod health;
pub(super) mod members;
pub(super) mod meta;
pub(super) mod registrations;
pub(super) mod roles;
pub(super) mod staff;
pub(super) mod tenant;
pub(super) mod webhooks;
