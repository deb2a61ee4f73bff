//! From `organization.created` to a tenant.
