//! What is done to a tenant, whoever asks for it.

mod unproven;
