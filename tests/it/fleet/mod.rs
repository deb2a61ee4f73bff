//! The database servers: template, warm databases, and what lies on them against what the registry says.

mod admin_pool;
mod intruders;
mod reconcile;
mod template;
mod warm_databases;
