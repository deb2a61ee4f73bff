//! The product's tables, a file for each.
#![allow(missing_docs, reason = "columns are explained where they are used")]

pub mod branches;
pub mod conversation_messages;
pub mod conversations;
pub mod group_members;
pub mod inbound_events;
pub mod members;
