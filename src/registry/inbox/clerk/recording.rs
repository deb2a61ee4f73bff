//! Records facts. Rows are locked in one order (user, membership, organizations by id), so that
//! concurrent events cannot deadlock. A change of a user sees every membership that was recorded
//! before, and a new membership sees every earlier change of its user.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::facts::{Facts, MembershipFact, OrganizationFact, Profile, Profiled, UserFact, Version};
use crate::registry::entities::{clerk_memberships, clerk_organizations, clerk_users};
use crate::registry::{RegistryError, RegistryTransaction};
use crate::sealing::{Sealer, SealingError, aad};

/// Merges the facts of an event with the known facts. Returns every organization that they concern,
/// changed or not: the facts of an earlier attempt may not be reconciled yet.
pub async fn record(
    transaction: &RegistryTransaction,
    sealer: &Sealer,
    facts: Facts,
    now: DateTime<Utc>,
) -> Result<BTreeSet<String>, RegistryError> {
    let mut concerned = BTreeSet::new();
    let mut changed = BTreeSet::new();
    if let Some(user) = facts.user {
        let id = user.id.clone();
        let is_news = record_user(transaction, sealer, user).await?;
        // A user that came with a membership concerns the user's other organizations too.
        let organizations = organizations_of(transaction, &id).await?;
        if is_news {
            changed.extend(organizations.iter().cloned());
        }
        concerned.extend(organizations);
    }
    if let Some(membership) = facts.membership {
        let (organization, is_news) = record_membership(transaction, membership).await?;
        if let Some(organization) = organization {
            if is_news {
                changed.insert(organization.clone());
            }
            concerned.insert(organization);
        }
    }
    let mut fact = facts.organization;
    concerned.extend(fact.iter().map(|fact| fact.id.clone()));
    for id in &concerned {
        let of_it =
            if fact.as_ref().is_some_and(|fact| fact.id == *id) { fact.take() } else { None };
        record_organization(transaction, id, of_it, changed.contains(id), now).await?;
    }
    Ok(concerned)
}

async fn record_user(
    transaction: &RegistryTransaction,
    sealer: &Sealer,
    new: UserFact,
) -> Result<bool, RegistryError> {
    use clerk_users::{ActiveModel, Column, Entity};
    let blank = ActiveModel { id: Set(new.id.clone()), ..Default::default() };
    let once = OnConflict::column(Column::Id).do_nothing().to_owned();
    Entity::insert(blank).on_conflict(once).exec_without_returning(transaction).await?;
    let row = Entity::find_by_id(&new.id).lock_exclusive().one(transaction).await?;
    let Some(row) = row else { return Ok(false) };
    let old = UserFact { profile: profile_of(sealer, &row)?, deleted: row.deleted, id: row.id };
    let merged = old.clone().merge(new);
    if merged == old {
        return Ok(false);
    }
    let mut row = ActiveModel { deleted: Set(merged.deleted), ..Default::default() };
    if let Some(Profiled { authoritative, version, profile }) = &merged.profile {
        let plain = serde_json::to_vec(profile).map_err(|_| SealingError::Unreadable)?;
        row.sealed_profile = Set(Some(sealer.seal(&aad::clerk_profile(&merged.id), &plain)?));
        row.authoritative = Set(*authoritative);
        row.updated_ms = Set(version.updated_ms);
        row.sent_ms = Set(version.sent_ms);
    }
    if merged.deleted {
        row.sealed_profile = Set(None);
    }
    Entity::update_many().set(row).filter(Column::Id.eq(merged.id)).exec(transaction).await?;
    Ok(true)
}

/// The unsealed profile of a user.
pub(super) fn profile_of(
    sealer: &Sealer,
    row: &clerk_users::Model,
) -> Result<Option<Profiled>, SealingError> {
    let Some(sealed) = &row.sealed_profile else { return Ok(None) };
    let plain = sealer.open(&aad::clerk_profile(&row.id), sealed)?;
    let profile: Profile = serde_json::from_slice(&plain).map_err(|_| SealingError::Unreadable)?;
    let version = Version { updated_ms: row.updated_ms, sent_ms: row.sent_ms };
    Ok(Some(Profiled { authoritative: row.authoritative, version, profile }))
}

async fn organizations_of(
    transaction: &RegistryTransaction,
    user: &str,
) -> Result<Vec<String>, RegistryError> {
    use clerk_memberships::{Column, Entity};
    let ids: Vec<Option<String>> = Entity::find()
        .select_only()
        .column(Column::OrganizationId)
        .distinct()
        .filter(Column::UserId.eq(user))
        .filter(Column::OrganizationId.is_not_null())
        .into_tuple()
        .all(transaction)
        .await?;
    Ok(ids.into_iter().flatten().collect())
}

/// Returns the organization of the membership, as far as it is known, and whether anything is new.
async fn record_membership(
    transaction: &RegistryTransaction,
    new: MembershipFact,
) -> Result<(Option<String>, bool), RegistryError> {
    use clerk_memberships::{ActiveModel, Column, Entity};
    let blank = ActiveModel { id: Set(new.id.clone()), ..Default::default() };
    let once = OnConflict::column(Column::Id).do_nothing().to_owned();
    let written =
        Entity::insert(blank).on_conflict(once).exec_without_returning(transaction).await?;
    let row = Entity::find_by_id(&new.id).lock_exclusive().one(transaction).await?;
    let Some(row) = row else { return Ok((new.organization, false)) };
    let old = MembershipFact {
        id: row.id,
        organization: row.organization_id,
        user: row.user_id,
        version: Version { updated_ms: row.updated_ms, sent_ms: row.sent_ms },
        role: row.role,
        deleted: row.deleted,
    };
    let merged = old.clone().merge(new);
    if merged == old {
        return Ok((merged.organization, written > 0));
    }
    let row = ActiveModel {
        organization_id: Set(merged.organization.clone()),
        user_id: Set(merged.user),
        role: Set(merged.role),
        updated_ms: Set(merged.version.updated_ms),
        sent_ms: Set(merged.version.sent_ms),
        deleted: Set(merged.deleted),
        ..Default::default()
    };
    Entity::update_many().set(row).filter(Column::Id.eq(merged.id)).exec(transaction).await?;
    Ok((merged.organization, true))
}

async fn record_organization(
    transaction: &RegistryTransaction,
    id: &str,
    new: Option<OrganizationFact>,
    people_changed: bool,
    now: DateTime<Utc>,
) -> Result<(), RegistryError> {
    use clerk_organizations::{ActiveModel, Column, Entity};
    let blank =
        ActiveModel { id: Set(id.to_owned()), next_settle_at: Set(now), ..Default::default() };
    let once = OnConflict::column(Column::Id).do_nothing().to_owned();
    Entity::insert(blank).on_conflict(once).exec_without_returning(transaction).await?;
    let mut row = ActiveModel::default();
    let mut is_news = people_changed;
    if let Some(new) = new
        && let Some(known) = Entity::find_by_id(id).lock_exclusive().one(transaction).await?
    {
        let old = OrganizationFact {
            id: known.id,
            version: Version { updated_ms: known.updated_ms, sent_ms: known.sent_ms },
            name: known.name,
            slug: known.slug,
            created_by: known.created_by,
            created_seen: known.created_seen,
            deleted: known.deleted,
        };
        let merged = old.clone().merge(new);
        is_news |= merged != old;
        row.name = Set(merged.name);
        row.slug = Set(merged.slug);
        row.created_by = Set(merged.created_by);
        row.updated_ms = Set(merged.version.updated_ms);
        row.sent_ms = Set(merged.version.sent_ms);
        row.created_seen = Set(merged.created_seen);
        row.deleted = Set(merged.deleted);
    }
    if is_news {
        row.next_settle_at = Set(now);
        row.settle_attempts = Set(0);
        Entity::update_many()
            .set(row)
            .col_expr(Column::Changes, Expr::col(Column::Changes).add(1))
            .filter(Column::Id.eq(id))
            .exec(transaction)
            .await?;
    }
    Ok(())
}
