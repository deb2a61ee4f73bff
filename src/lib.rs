//! Narthex: a gateway that gives every tenant its own PostgreSQL database.
//!
//! A request meets the modules in this order. [`http`] finds its route. [`access`] says who is calling, and to which tenant they
//! belong. The [`tenant_router`] lends a connection to that tenant's database, and proves that it is that database. The handler
//! calls one function of the product ([`messaging`]), of the accounts of staff ([`accounts`]) or of what every tenant has
//! ([`tenant_data`]) with that connection, and answers. The [`registry`] knows which tenants there are and where their databases
//! are. Every query runs on the connection type of [`postgres`].
//!
//! Events of providers come in through [`http`]. [`webhooks`] verifies and parses them, and they take the same way to their tenant.
//! [`provisioning`] makes tenants and removes them, [`tenants`] changes them, and [`fleet`] looks after the database servers.
//! [`operators`] are the people who run all this. [`jobs`] lists what runs by itself. [`app`] puts the modules together; [`cli`]
//! is the command line.
//!
//! A module uses only modules below it in this list. A test holds the code against it. Below `postgres` lies the foundation,
//! which every module may use.

pub mod cli;

pub mod app;
pub mod http;
pub mod jobs;
pub mod webhooks;
pub mod tenants;
pub mod operators;
pub mod provisioning;
pub mod accounts;
pub mod fleet;
pub mod access;
pub mod messaging;
pub mod tenant_data;
pub mod tenant_router;
pub mod registry;
pub mod postgres;

pub mod audit;
pub mod backoff;
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
pub mod standard_webhooks;
pub mod telemetry;
