//! Narthex: a gateway that gives every tenant its own PostgreSQL database.
//!
//! A request meets the rooms in this order. [`http`] finds its route, checks who is calling
//! ([`authentication`]) and which tenant they belong to, and asks the [`tenant_router`] for a connection to
//! that tenant's database, which proves whose it is before anybody gets it. The handler calls one function of
//! the product ([`messaging`]) or of what every tenant has ([`tenant_data`]) with that connection, and answers.
//! Which tenants there are and where they live, the [`registry`] knows; every query, of the registry and of
//! the tenants, runs on the connection type of [`postgres`].
//!
//! Events of providers come in through [`http`], are verified and understood in [`webhooks`], and take the same
//! way to their tenant. New tenants are made by [`provisioning`]. What runs by itself is listed in [`jobs`].
//! [`app`] puts the rooms together; [`cli`] is the way in from the command line.
//!
//! A room uses only rooms below it. The list is in that order, from the street door down, and a test holds the
//! code against it. Below `postgres` lies the foundation that every room may use.

pub mod cli;

pub mod app;
pub mod http;
pub mod jobs;
pub mod webhooks;
pub mod authentication;
pub mod provisioning;
pub mod messaging;
pub mod tenant_data;
pub mod tenant_router;
pub mod registry;
pub mod postgres;

pub mod audit;
pub mod clock;
pub mod configuration;
pub mod identifiers;
pub mod lifecycle;
pub mod limits;
pub mod mail;
pub mod outbound;
pub mod paging;
pub mod passwords;
pub mod plain_text;
pub mod sealing;
pub mod telemetry;
